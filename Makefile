PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: reproduce figures test check bench clean

reproduce: $(STAMP)  ## train every experiment, then draw every figure
	$(BIN)/pkpo-train experiment=risk_1d hydra/launcher=joblib
	$(BIN)/pkpo-train experiment=risk_bandit hydra/launcher=joblib
	$(BIN)/pkpo-figures

test: check  ## lint, types and every test
	$(BIN)/pytest -n 2

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)  ## speed of the transform and of training, both sides in one run
	$(BIN)/python tests/benchmarks/bench_transforms.py
	$(BIN)/python tests/benchmarks/bench_training.py

clean:
	rm -rf $(VENV) runs build dist *.egg-info

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
