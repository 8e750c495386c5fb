# Two commands for a newcomer: `make demo` and `make test`. Both install what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo-output
# processes that share the tests, each with one thread; a file stays in one of them
WORKERS ?= 2
TESTED := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: demo test test-all test-system image-test lint benchmark docs environment clean

demo: environment
	$(BIN)/unimo-bids-demo $(DEMO)/bids --run $(DEMO)/derivatives

# minutes: no long series, not the whole program
test: environment
	$(TESTED) -m "not slow and not system"

# then the whole program, long as it takes beside others
test-all: environment
	$(TESTED) -m "not system" --ignore tests/system
	$(TESTED) -m "not system" tests/system

# what needs other programs of the system, as a browser or a scheduler, or its rights
test-system: environment
	@for program in chromedriver slurmctld slurmd munged bwrap; do \
	  command -v $$program > /dev/null || { \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends chromium chromium-driver bubblewrap \
	  munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins || exit 1; break; }; done
	$(TESTED) -m "system and not image" tests/reports/test_browser.py tests/system

# builds the image and runs it, as root on Debian: some ten minutes, and 5 GB of disk
image-test: environment
	@for program in buildah debootstrap bwrap; do \
	  command -v $$program > /dev/null || { \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends buildah debootstrap bubblewrap || exit 1; break; }; done
	$(BIN)/python -m pytest -m image

docs: environment
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: environment
	$(BIN)/pip install --quiet -c constraints.txt -e ".[benchmark]"
	$(BIN)/python -m benchmarks short

environment: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) has no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	# torch first, as pinned; a build without CUDA that is there already is kept
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(DEMO)-work build .mypy_cache .pytest_cache .ruff_cache
