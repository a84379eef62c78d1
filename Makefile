# make demo     install, then: synthesise, extract, train, test; results in runs/demo/
# make test     install, then all tests but those of whole runs on several processes: make test-long
# make docs     install, then the documentation; docs/_build/index.html
# make dist     the files of a release, checked and tried; dist/. BORROW=1 downloads no torch for that
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FACES ?=
WEIGHTS ?= imagenet
DATA ?= real
JOBS ?= 2
PARTS ?=
CKPT ?=
PAIRS ?=
VIT ?=
BORROW ?=
LONG ?= tests

.PHONY: help install demo real test test-long test-app lint type smoke reproduce-table1 reproduce-figures explainers blend encoders systems bench faults audit docs dist clean

help:
	@sed -n 's/^# //p' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/python experiments/demo.py $(if $(FACES),--faces "$(FACES)")

# One thread each: two processes that both use all cores wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not long"

# Two nodes under torchrun and SLURM, DDP, streams, trainings that are killed or go wrong, full disks.
test-long: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(LONG) -n $(JOBS) --dist loadscope -m long

# The app in a real browser; Gradio stands apart, since it needs another pillow than the rest is tested with.
test-app: $(STAMP)
	[ -d build/app ] || $(BIN)/pip install --quiet --target build/app "$$($(BIN)/python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["app"][0])')"
	OMP_NUM_THREADS=1 PYTHONPATH=build/app $(BIN)/python -m pytest tests/explain/app

# Breaks things on purpose: kills, full disks, broken files, hostile input; prints what was lost and writes it down.
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults -n $(JOBS) --faults all --faults-table tests/faults/README.md

# Known vulnerabilities of what is installed; where the database cannot be reached it says so and passes.
audit: $(STAMP)
	$(BIN)/python .ci/audit.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP)
	$(BIN)/mypy

# The whole way on a tiny set, as a user types it.
smoke: $(STAMP)
	rm -rf runs/smoke datasets/smoke datasets/smoke_crops
	$(BIN)/resgat synth datasets/smoke --videos 12 --frames 8
	$(BIN)/resgat fit --config configs/smoke.yaml --data.root datasets/smoke --trainer.max_epochs 1
	$(BIN)/resgat check datasets/smoke_crops
	$(BIN)/resgat test --config runs/smoke/config.yaml --ckpt_path runs/smoke/checkpoints/best.ckpt

# DATA=synthetic runs all rows on synthetic sets; otherwise rows whose FFPP_ROOT or DFDC_ROOT is unset are skipped.
reproduce-table1: $(STAMP)
	$(BIN)/resgat reproduce experiments/table1.yaml --data $(DATA)

# From the checkpoints of reproduce-table1; those that are missing are trained first.
reproduce-figures: $(STAMP)
	$(BIN)/resgat figures experiments/figures.yaml --data $(DATA)

# Trains 19 small detectors and scores every explanation on them: hours. FACES=DIR forges portraits instead of drawn
# faces; WEIGHTS=FILE is a torchvision state dict of MobileNetV2, where ImageNet's cannot be downloaded.
explainers: $(STAMP)
	$(BIN)/python experiments/explainers.py $(if $(FACES),--faces "$(FACES)") --weights "$(WEIGHTS)" --jobs $(JOBS)

# Explanations of CKPT=FILE on real manipulations: FaceForensics++ where FFPP_ROOT is set, and PAIRS=DIR, a folder with
# original/ and fake/ (docs/how_to/self_blends.md). Tables in runs/real/.
real: $(STAMP)
	$(BIN)/python experiments/real.py --ckpt "$(CKPT)" $(if $(PAIRS),--pairs "$(PAIRS)") --jobs $(JOBS)

# Detectors trained on genuine faces and self-blends alone, on which every explanation is scored: days for all of it, hours
# with ONLY=recipe. GENUINE=DIR/ with real/ in it; PAIRS="DIR ..." are real pairs to test on; WEIGHTS as for explainers.
blend: $(STAMP)
	$(BIN)/python experiments/blend.py --genuine "$(GENUINE)" --weights "$(WEIGHTS)" --jobs $(JOBS) \
	  $(if $(PAIRS),--pairs $(PAIRS)) $(if $(ONLY),--only $(ONLY)) $(if $(PAGE),--page "$(PAGE)")

# A table of encoders: size, speed, AUROC on synthetic faces from cached features; 20 minutes on one core. WEIGHTS=DIR has
# dinov2_vits14.pth (timm's state dict) and mobilenet_v2.pth (torchvision's); without them all weights are random.
encoders: $(STAMP)
	$(BIN)/python experiments/encoders.py $(if $(filter-out imagenet,$(WEIGHTS)),--weights "$(WEIGHTS)")

# Every system that the paper reviews, trained with three seeds and measured against what is claimed of it: four hours on two
# cores. Without FACES=DIR faces are drawn; VIT=FILE is DINOv2 ViT-S/14 (timm's state dict), without it [13] is skipped.
systems: $(STAMP)
	$(BIN)/python experiments/systems.py $(if $(FACES),--faces "$(FACES)") --weights "$(WEIGHTS)" \
	  $(if $(VIT),--vit "$(VIT)") --jobs $(JOBS) $(if $(ONLY),--only $(ONLY))

# Ratios against references, measured side by side; half an hour on two quiet cores. PARTS="training inference": some.
bench: $(STAMP)
	$(BIN)/python experiments/bench/run.py $(PARTS)

# Pages in docs/_build/index.html; warnings are errors.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build

# sdist and wheel in dist/, their contents compared, the wheel tried in an empty environment; as the workflow release.
dist: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dist]"
	$(BIN)/python .ci/dist.py $(if $(BORROW),--borrow)

clean:
	rm -rf runs datasets build dist docs/_build *.egg-info
