# make demo: live recognition on the shipped model and a real recording, light install.
# make sim-ble: a virtual wearable that plays that recording, for `make demo DEMO=--ble` in another terminal.
# make audit: known vulnerabilities of our dependencies; needs PyPI.
# make test: everything, in its own environment with all extras.
# Both take options for pip: PIP="--extra-index-url https://download.pytorch.org/whl/cpu" for PyTorch without CUDA.
# make pictures: the pictures in docs/ and the summary in README that show the shipped bundle.
PYTHON ?= python3
DEMO ?=
SIM ?= --wearable witmotion
PIP ?=
# Three processes on two cores: many tests wait for clocks and devices.
PYTEST ?= -n 3 --dist loadfile

.PHONY: demo sim-ble test lint pictures tiny clean

demo: .venv/installed
	.venv/bin/mujo-edge stream $(DEMO)

sim-ble: .venv/sim
	.venv/bin/python -m firmware_bridge.simulator ble --motion mujo_edge/assets/recordings/spar-10 $(SIM)

test: .venv-dev/installed
	.venv-dev/bin/pytest $(PYTEST)

lint: .venv-dev/installed
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports
	.venv-dev/bin/deptry mujo_edge firmware_bridge training benchmarks

pictures: .venv-dev/installed
	.venv-dev/bin/python -m benchmarks.pictures

# Known vulnerabilities in the pinned versions, by PyPI's list; packages that it does not know are named.
audit: .venv-audit/installed
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

tiny: .venv-dev/installed
	.venv-dev/bin/python -m training.run --recipe tiny

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mujo-edge needs Python 3.11 or newer; run: make demo PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet $(PIP) --constraint constraints.txt --editable .
	touch $@

.venv/sim: .venv/installed
	.venv/bin/python -m pip install --quiet $(PIP) --constraint constraints.txt --editable '.[sim]'
	touch $@

# One pip command: in stages, the converters' needs conflict. tosa-tools, which the Cortex-M lowering imports, pins versions
# of others that it does not need for that.
.venv-dev/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python -m pip install --quiet $(PIP) --constraint constraints.txt --editable '.[dev]'
	.venv-dev/bin/python -m pip install --quiet $(PIP) --constraint constraints.txt --no-deps tosa-tools
	touch $@

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit
	touch $@

clean:
	rm -rf .venv .venv-dev .venv-audit runs
