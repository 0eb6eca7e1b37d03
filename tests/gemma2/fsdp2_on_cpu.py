"""Run a program under FSDP2 on CPUs: torchrun fsdp2_on_cpu.py PRECISION SCRIPT|-m MODULE ARGUMENTS.

accelerate shards models on GPUs alone. Two things stand in for ``accelerate launch`` with TRL's
fsdp2.yaml on those: the settings of the file are put into the environment here, with PRECISION
("no" or "bf16") in place of its own, and accelerate is told that its processes, which talk to each
other through gloo, are those of GPUs. The sharding and all that follows are torch's, accelerate's,
transformers' and TRL's own.
"""

import os
import runpy
import sys
from importlib.resources import files

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else torch shards onto a GPU that is there

from accelerate import PartialState
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

_, precision, *program = sys.argv
file = str(files("trl") / "accelerate_configs" / "fsdp2.yaml")
settings = ["--config_file", file, "--num_processes", "2", "--mixed_precision", precision]
arguments, *_ = _validate_launch_command(launch_command_parser().parse_args([*settings, *program]))
for name, value in prepare_multi_gpu_env(arguments).items():
    if name.startswith(("ACCELERATE_", "FSDP_")):
        os.environ[name] = value

original = AcceleratorState.__init__


def on_gpus(self, *args, **kwargs):
    if PartialState().distributed_type == DistributedType.MULTI_CPU:
        PartialState().distributed_type = DistributedType.MULTI_GPU
    original(self, *args, **kwargs)


AcceleratorState.__init__ = on_gpus
if program[0] == "-m":
    sys.argv = program[1:]
    runpy.run_module(program[1], run_name="__main__", alter_sys=True)
else:
    sys.argv = program
    runpy.run_path(program[0], run_name="__main__")
