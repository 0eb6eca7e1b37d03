PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
GEMMA2 := $(VENV)/.installed-gemma2

.PHONY: reproduce test check bench clean

EXPERIMENTS := risk_1d risk_bandit gradient_variance sample_weights unblock anneal \
	tuning entropy_bonus objectives

reproduce: $(STAMP)  ## train every experiment, then draw every figure
	set -e; for name in $(EXPERIMENTS); do \
		$(BIN)/pkpo-train experiment=$$name hydra/launcher=joblib; \
		$(BIN)/pkpo-figures $$name & drawing="$$drawing $$!"; \
	done; for process in $$drawing; do wait $$process; done
	if $(BIN)/python -c "import trl" 2> /dev/null; then \
		$(BIN)/pkpo-gemma2 experiment=gemma2_factor hydra/launcher=joblib && \
		$(BIN)/pkpo-figures gemma2_factor; fi

test: check  ## lint, types and every test, those of the language model included
	$(BIN)/pytest -n 2

check: $(GEMMA2)
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

$(GEMMA2): $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,gemma2]'
	touch $@
