# make quickstart   set up and run a first experiment on the simulator: no key, no network
# make test         set up and pass the tests
# make check        what CI runs: format, lint, types, tests
# make reference    write grammar/REFERENCE.md and the grammars of editors
# make docs         build the site of docs/ in build/site, strictly, and try it in a browser
# make docs-output  write the output of commands into the README and the pages of docs/
# make gallery      draw the figure of each study, on the simulator
# make bench        ratios against the raw limit on this machine; bench-scale with 1,000,000 queries too
# make bench-view   the viewer in Chromium at 1,000,000 rows: 27 GB, 20 minutes; ROWS=100000 for fewer
# make conformance  studies against a LiteLLM proxy and tiny models, the providers' clients, older DuckDB, a Ray cluster: 2 GB, 15 minutes
# make pace         a server that fails, and one that has a limit: some minutes
# make stress       100 kills with -9, 200,000 entries of 4 KB, batches of 200 MB, made-up studies, odd names, a newcomer,
#                   a mixed model, coverage of intervals by clusters, of corrected judges and of fits over doses, estimated
#                   costs, `batch = auto`, a report of 50,000 rows, notebooks in Jupyter and marimo, a team's store on PostgreSQL
#                   with cut links, remotes through kills, a Ray cluster whose nodes are killed
# make bench-billion  the predictions of docs/scale.md at 1,000,000 requests: half an hour

PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # where it is set, each start of emdsl would compile the package again

.PHONY: quickstart test check lint reference docs docs-output gallery bench bench-scale bench-view bench-billion pace stress conformance clean
.DELETE_ON_ERROR:

quickstart: .venv/installed
	$(BIN)/python -m emdsl run experiments/quickstart.em
	@echo "(the command is .venv/bin/emdsl; 'source .venv/bin/activate' makes it emdsl)"

test: .venv/installed-dev
	$(BIN)/python -m pytest -q -n auto --dist loadfile

check: lint test

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

reference: .venv/installed-dev
	$(BIN)/python -m emdsl.compiler.reference grammar

docs: .venv/installed-docs
	rm -rf build/docs build/site
	$(BIN)/python -m emdsl docs -o build/docs
	cp -r docs/assets build/docs/
	$(BIN)/zensical build --strict --clean
	cp -r build/docs/. build/site/  # the pages as Markdown too, which llms.txt links
	$(BIN)/python tests/docs_site.py build/site

docs-output: .venv/installed-dev
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q -n0 tests/test_readme.py tests/test_docs.py

# each line: a study, a measure, how many samples are simulated, and a kind if another is better than the default
gallery: .venv/installed-dev
	while read -r study measure samples kind; do \
	  $(BIN)/python -m emdsl run experiments/$$study.em --sim --samples $$samples --display none > /dev/null && \
	  $(BIN)/python -m emdsl plot experiments/$$study.em --sim --measure $$measure $${kind:+--kind $$kind} --width 2col \
	    -o experiments/$$(dirname $$study)/figure.svg || exit 1; done < experiments/gallery.txt

bench: .venv/installed-dev
	$(BIN)/python tests/bench/bench.py
	$(BIN)/python tests/bench/workers.py
	PYTHONPATH=tests $(BIN)/python tests/bench/affinity.py
	$(BIN)/python tests/bench/planning.py
	$(BIN)/python tests/bench/team.py

bench-scale: .venv/installed-dev
	$(BIN)/python tests/bench/bench.py --scale
	PYTHONPATH=tests/bench $(BIN)/python tests/bench/load.py
	$(BIN)/python tests/bench/team.py --scale
	$(BIN)/python tests/bench/remotes.py --scale

bench-view: .venv/installed-dev
	PYTHONPATH=tests $(BIN)/python tests/bench/view_scale.py build/view-scale $(ROWS)

bench-billion: .venv/installed-dev
	$(BIN)/python tests/bench/billion.py --scale

pace: .venv/installed-dev
	PYTHONPATH=tests $(BIN)/python tests/bench/pace.py

stress: .venv/installed-dev
	PYTHONPATH=tests $(BIN)/python tests/made_up.py
	PYTHONPATH=tests $(BIN)/python tests/outcomes/test_names.py 20
	LARGE_BYTES=1048576 $(BIN)/python -m pytest -q -n0 tests/lang/test_fuzz.py -k large
	THOROUGH=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -m thorough tests
	N_HABITS=500 $(BIN)/python -m pytest -q -n0 tests/lang/test_habits.py -k first_message
	$(BIN)/python tests/bench/stress.py
	$(BIN)/python tests/bench/request_files.py
	$(BIN)/python tests/bench/batches.py
	$(BIN)/python tests/bench/batch_kills.py 20
	$(BIN)/python tests/bench/batch_scale.py
	PYTHONPATH=tests $(BIN)/python tests/bench/annotations.py
	PYTHONPATH=tests $(BIN)/python tests/bench/comparing.py
	$(BIN)/python tests/bench/latex.py
	PYTHONPATH=tests $(BIN)/python tests/bench/view_run.py
	$(BIN)/python tests/bench/dose.py
	$(BIN)/python tests/bench/weird_icl.py
	PYTHONPATH=tests $(BIN)/python tests/bench/analysis.py
	PYTHONPATH=tests $(BIN)/python tests/bench/coverage.py
	PYTHONPATH=tests $(BIN)/python tests/bench/corrected.py 2000 5
	PYTHONPATH=tests $(BIN)/python tests/bench/pilot.py
	PYTHONPATH=tests $(BIN)/python tests/bench/auto.py
	PYTHONPATH=tests $(BIN)/python tests/bench/newcomer.py
	$(BIN)/python tests/bench/notebooks.py
	PYTHONPATH=tests $(BIN)/python tests/bench/report.py
	$(BIN)/python tests/bench/team_network.py
	$(BIN)/python tests/bench/remotes.py
	$(BIN)/python tests/bench/ray_cluster.py kills away

conformance: .venv/installed-dev .venv-conformance/installed
	CONFORMANCE_BIN=$(CURDIR)/.venv-conformance/bin $(BIN)/python -m pytest -q -p no:xdist --override-ini addopts= \
	  --import-mode=importlib tests/conformance

.venv-conformance/installed: tests/conformance/requirements.txt
	$(PYTHON) -m venv .venv-conformance
	.venv-conformance/bin/python -m pip install -q --disable-pip-version-check -r tests/conformance/requirements.txt
	@touch $@

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "emdsl needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/made pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/installed-dev: .venv/made pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch .venv/installed $@

.venv/installed-docs: .venv/made pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev,docs]'
	@touch .venv/installed .venv/installed-dev $@

clean:
	rm -rf .venv .venv-conformance .cache build dist
