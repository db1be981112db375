# Two commands make everything from nothing: `make demo` and `make test`.
#
# A stamp in .venv is there only while what it stands for is whole: .run means that mmctl can run, .test
# that its tools are there too. Whatever is found half-made, moved, too old or outdated is made anew. The
# install is editable, so new code needs none.

# What `make demo` runs. PYTHON=python3.13 chooses an interpreter, ARGS="-k ladder" goes to pytest.
DEMO ?= .venv/bin/mmctl dry-run --pair BTC-USDT

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# A name on the path may be a shim for nothing: only one that runs counts.
BASE = $(or $(PYTHON),$(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done),python3)
CHECK_BASE = $(BASE) -c '$(NEW_ENOUGH)' 2>/dev/null || \
	{ echo "mmctl needs Python 3.11 or later: install it, or name it with PYTHON=..." >&2; exit 1; }

# The stamp holds the folder it was made in: a copied or moved .venv points to the old place. Where PYTHON
# is given, .venv must be of its version.
VERSION := import platform; print(platform.python_version())
WHOLE := import platform, sys; version = platform.python_version(); \
	print(sys.version_info >= (3, 11) and sys.argv[1] in ("", version) and open(".venv/.run").read().strip())
WANTED := $(if $(PYTHON),$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null || echo none))
MADE_IN := $(shell .venv/bin/python -c '$(WHOLE)' "$(WANTED)" 2>/dev/null)
ifneq ($(MADE_IN),$(CURDIR))
ANEW := anew
endif

PIP := .venv/bin/python -m pip --disable-pip-version-check -qq

# The demo is to be the same for everyone.
unexport MMCTL_PROFILE

.PHONY: help demo test drill outside lint format bench constraints clean anew
.DEFAULT_GOAL := help

help: ## Show these lines
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 18

demo: .venv/.run ## Watch mmctl quote BTC-USDT on its built-in market; Ctrl-C ends it
	@exec .venv/bin/python -c "$$IN_FRONT" $(DEMO)

# Several processes share the suite, which ARGS=-n0 undoes. A file that is named is quicker in one.
SHARED := -n auto --dist worksteal
test: .venv/.test ## Run the whole suite
	.venv/bin/python -m pytest $(if $(filter tests/% ./tests/%,$(ARGS)),,$(SHARED)) $(ARGS)

outside: build/outside/.made ## Drive the sandbox with ccxt and Binance's own SDK
	build/outside/bin/python -m pytest tests/outside tests/wire/test_binance_sign.py $(ARGS)

lint: .venv/.test ## Check format, style and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/.test ## Mend format and what style can be mended
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

drill: .venv/.run ## Play 200 seeds of the default profile against a hostile venue
	.venv/bin/mmctl drill --profile profiles/default.toml --seeds 200 --jobs 2

bench: .venv/.test ## Measure; fails where a number is missed
	@failed=; for script in tests/bench/bench_*.py; do \
		echo "== $$script"; .venv/bin/python "$$script" || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

clean: ## Remove everything that was made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --clear: what an old dependency left behind must not help a test to pass.
.venv/.run: pyproject.toml constraints.txt $(ANEW)
	@$(CHECK_BASE)
	@echo "making .venv with $(BASE)"
	@$(BASE) -m venv --clear .venv
	@$(PIP) install -c constraints.txt -e .
	@echo "$(CURDIR)" >$@

# The first stamp goes while pip is at work: broken off here, nothing is known to be whole. --group needs pip 25.1.
.venv/.test: .venv/.run
	@echo "adding the test tools"
	@rm .venv/.run
	@$(PIP) install "pip>=25.1"
	@$(PIP) install -c constraints.txt --group dev
	@echo "$(CURDIR)" >.venv/.run
	@touch $@

# A venv of its own and no constraints: those clients want old versions of what mmctl uses.
build/outside/.made: pyproject.toml
	@$(CHECK_BASE)
	@echo "making build/outside with $(BASE)"
	@$(BASE) -m venv --clear build/outside
	@build/outside/bin/python -m pip --disable-pip-version-check -qq install "pip>=25.1"
	@build/outside/bin/python -m pip --disable-pip-version-check -qq install -e . --group outside
	@touch $@

# pip resolves for its own Python only; uv does for all, and is needed for nothing else. Not from .venv: new
# bounds in pyproject.toml may not agree with the old pins.
constraints: ## Pin the newest of everything, for all Pythons
	@$(CHECK_BASE)
	rm -rf build/pinning && $(BASE) -m venv build/pinning
	build/pinning/bin/pip install --disable-pip-version-check --quiet uv
	{ echo "# Made by 'make constraints': all that mmctl, its tests and its tools resolve to, on Python 3.11 and later."; \
		build/pinning/bin/uv pip compile --quiet --universal --python-version 3.11 --group dev \
			--no-header --no-annotate --no-emit-index-url pyproject.toml; } >build/pinning/constraints.txt
	mv build/pinning/constraints.txt constraints.txt
	rm -r build/pinning

# Ctrl-C signals every process in front of the terminal, and make then dies with an error of its own. So the
# demo runs in a process group of its own, which gets the terminal for as long as it runs; signals that reach
# make's group are passed on to it, each once, since a second one means "at once" to mmctl. SIGINT is a good end.
define IN_FRONT
import contextlib, os, signal, sys

PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
tty = None
with contextlib.suppress(OSError):
    tty = os.open('/dev/tty', os.O_RDWR)

def hand(giver, taker):
    with contextlib.suppress(OSError):
        if tty is not None and os.tcgetpgrp(tty) == giver:
            os.tcsetpgrp(tty, taker)

def send(number):
    with contextlib.suppress(OSError):
        os.killpg(job, number)

def pass_on(number, _):
    signal.signal(number, signal.SIG_IGN)
    send(number)

own = os.getpgrp()
signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
job = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, setpgroup=0, setsigmask=(),
                     setsigdef=(signal.SIGPIPE,))
for number in PASSED_ON:
    signal.signal(number, pass_on)
signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # or taking the terminal back would stop this process

while True:
    hand(own, job)
    send(signal.SIGCONT)
    _, status = os.waitpid(job, os.WUNTRACED)
    hand(job, own)
    if not os.WIFSTOPPED(status):
        break
    os.killpg(own, signal.SIGTSTP)  # Ctrl-Z: stop make too, and go on together
code = os.waitstatus_to_exitcode(status)
sys.exit(0 if code in (130, -signal.SIGINT) else code if code >= 0 else 128 - code)
endef
export IN_FRONT
