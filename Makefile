# Make owns the order, Python the freshness: every target is a verb, and each stage skips what its key proves done.
.DEFAULT_GOAL := help
.PHONY: help demo all extract probe baselines finetune lrfind curve pictures latency doctor compare export predict recipe verify explain test slow docs faults bench bench-heads lint clean

PYTHON ?= python3
VENV   ?= .venv
DATASET ?= hymenoptera
BACKBONES ?= resnet18

OPTIONS = --dataset "$(DATASET)" --backbone $(BACKBONES) $(FURTHER)

# A recipe has a data set and nets of its own: only those that somebody asks for take their place.
ASKED = $(if $(filter-out file,$(origin DATASET)),--dataset "$(DATASET)") \
	$(if $(filter-out file,$(origin BACKBONES)),--backbone $(BACKBONES)) $(FURTHER)

FURTHER = $(if $(TAPS),--tap $(TAPS)) $(if $(VIEWS),--views $(VIEWS)) \
	$(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(DATA),--data "$(DATA)") \
	$(if $(CACHE),--cache "$(CACHE)") $(if $(REPORTS),--reports "$(REPORTS)") \
	$(if $(DEVICE),--device $(DEVICE)) $(if $(PRECISION),--precision $(PRECISION)) \
	$(if $(IMAGE_SIZE),--image-size $(IMAGE_SIZE)) $(if $(LIMIT),--limit $(LIMIT)) \
	$(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(DATA_SEED),--data-seed $(DATA_SEED)) \
	$(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(LR),--lr $(LR)) $(if $(STRATEGY),--strategy $(STRATEGY)) \
	$(if $(TRAIN),--train $(TRAIN)) $(if $(UNFREEZE),--unfreeze $(UNFREEZE)) $(if $(FROZEN_GB),--frozen-gb $(FROZEN_GB)) \
	$(if $(CURVE_STRATEGY),--curve-strategy $(CURVE_STRATEGY)) \
	$(if $(TEACHER),--teacher "$(TEACHER)") $(if $(SECOND),--second $(SECOND)) \
	$(if $(SGD),--sgd $(SGD)) $(if $(MLP),--mlp $(MLP)) \
	$(if $(LABELS),--labels "$(LABELS)") $(if $(GROUPS),--groups "$(GROUPS)") \
	$(if $(FRACTIONS),--fractions $(FRACTIONS)) $(if $(SHOTS),--shots $(SHOTS)) $(if $(DRAWS),--draws $(DRAWS)) \
	$(if $(MAP),--map $(MAP)) $(if $(CANARY),--canary $(CANARY)) $(if $(BATCH_SIZE),--batch-size $(BATCH_SIZE)) $(if $(WORKERS),--workers $(WORKERS))

help:  ## show the targets and their variables
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo
	@echo '  variables: DATASET=digits|cifar10|hymenoptera|folder:PATH  BACKBONES="resnet18 timm:NAME"  WEIGHTS=DEFAULT|none|PATH'
	@echo '             TAPS="penultimate layer3 last-4" VIEWS= DATA= CACHE= REPORTS= DEVICE= PRECISION= IMAGE_SIZE= LIMIT= SEED= SEEDS='
	@echo '             DATA_SEED= EPOCHS= LR= STRATEGY="last-1 lp-ft full" TRAIN="lr=1e-3,1e-2 clip=1" TEACHER=BACKBONE'
	@echo '             UNFREEZE= FROZEN_GB= CURVE_STRATEGY= SGD="lr=1e-3,1e-2" MLP="width=512" LABELS=FILE.csv GROUPS=FILE.csv FRACTIONS= SHOTS= DRAWS='
	@echo '             SECOND="NAME=CLASS,CLASS NAME=CLASS" or FILE.csv'
	@echo '             METHOD= OUT= PT2=1 ONNX=1 (export)  ARTIFACT= IMAGES= (predict)'
	@echo '             BATCH_SIZE= WORKERS= CANARY= MAP=tsne     (probeline VERB --help says what each means)'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The dev environment holds all that the demo needs.
$(VENV)/demo: $(VENV)/bin/python pyproject.toml constraints.txt
	@test -e $(VENV)/dev || $(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/onnx: $(VENV)/demo
	@test -e $(VENV)/dev || $(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[onnx]'
	@touch $@

$(VENV)/docs: $(VENV)/demo
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

demo: $(VENV)/demo  ## install, then probe, baselines, fine-tune and from scratch on bundled data and weights
	@$(VENV)/bin/probeline run --recipe demo

all: $(VENV)/demo  ## every stage on DATASET with BACKBONES
	@$(VENV)/bin/probeline run $(OPTIONS)

extract: $(VENV)/demo  ## run each frozen backbone once and cache its embeddings
	@$(VENV)/bin/probeline extract $(OPTIONS)

probe: extract  ## fit linear heads on the cached embeddings
	@$(VENV)/bin/probeline probe $(OPTIONS)

baselines: extract  ## scikit-learn logistic regression, ridge regression, k-NN and centroids on them
	@$(VENV)/bin/probeline baselines $(OPTIONS)

finetune: $(VENV)/demo  ## train the net or its upper stages (STRATEGY), from its weights and from scratch
	@$(VENV)/bin/probeline finetune $(OPTIONS)

lrfind: $(VENV)/demo  ## test which learning rates a fine-tune bears: its first steps while the rate rises
	@$(VENV)/bin/probeline lrfind $(OPTIONS)

curve: extract  ## the learning curve: the exact probe on 1 % to 100 % of the train images, several draws each
	@$(VENV)/bin/probeline curve $(OPTIONS)

pictures: $(VENV)/demo  ## each backbone's first filters, its input, its mistakes beside train images, and a map of its embeddings (MAP=tsne)
	@$(VENV)/bin/probeline pictures $(OPTIONS)

latency: $(VENV)/demo  ## what a forward pass of each backbone costs on DEVICE, the nets timed in turn
	@$(VENV)/bin/probeline latency $(OPTIONS)

doctor: extract  ## examine the data with the cached embeddings: duplicates and leaks, doubtful labels, outliers
	@$(VENV)/bin/probeline doctor $(OPTIONS)

compare: $(VENV)/demo  ## write the page, the table and the figures of all scores of DATASET
	@$(VENV)/bin/probeline compare $(OPTIONS)

export: $(VENV)/$(if $(ONNX),onnx,demo)  ## write the row METHOD (or val's choice) as a folder OUT that answers for new images; PT2=1 ONNX=1 add graphs
	@$(VENV)/bin/probeline export $(OPTIONS) $(if $(METHOD),--method $(METHOD)) $(if $(OUT),--out "$(OUT)") $(if $(PT2),--pt2) $(if $(ONNX),--onnx)

predict: $(VENV)/demo  ## say what is in IMAGES (files or folders) by the exported folder ARTIFACT
	@$(VENV)/bin/probeline predict $(IMAGES) --artifact "$(ARTIFACT)" $(if $(DEVICE),--device $(DEVICE))

recipe: $(VENV)/demo  ## run a packaged experiment: make recipe NAME=demo
	@$(VENV)/bin/probeline run --recipe '$(NAME)' $(ASKED)

verify: $(VENV)/demo  ## check every byte of the cache, and its rows against images and nets
	@$(VENV)/bin/probeline verify $(OPTIONS)

explain: $(VENV)/demo  ## say which field of the key differs from the nearest cached entry
	@$(VENV)/bin/probeline explain $(OPTIONS)

test: $(VENV)/dev  ## lint, types and the whole suite, offline
	@$(VENV)/bin/ruff check pipeline tests
	@$(VENV)/bin/ruff format --check -q pipeline tests
	@$(VENV)/bin/mypy
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal

slow: $(VENV)/dev  ## what takes too long for every run: all of torchvision's nets and many of timm's, and further cases of what the suite checks
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal -m slow

docs: $(VENV)/docs  ## build the documentation strictly and offline into site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

lint: $(VENV)/dev  ## format and lint the sources, check the types
	@$(VENV)/bin/ruff format pipeline tests
	@$(VENV)/bin/ruff check --fix pipeline tests
	@$(VENV)/bin/mypy

faults: $(VENV)/dev  ## kills, flipped bytes, full disks, many writers, power loss: what the cache survives
	@OMP_NUM_THREADS=1 $(VENV)/bin/python tests/faults

bench: $(VENV)/dev  ## extraction beside a plain loop and the bare forward pass
	@$(VENV)/bin/probeline bench $(OPTIONS)

bench-heads: $(VENV)/dev  ## heads beside scikit-learn and plain loops, on the cached features of cifar10 x mobilenet_v2
	@$(VENV)/bin/python tests/bench_heads $(if $(DATA),--data "$(DATA)") $(if $(CACHE),--cache "$(CACHE)") $(if $(ONLY),--only $(ONLY))

clean:  ## remove what was built; embeddings, scores and data stay
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis pipeline/*.egg-info
	find pipeline tests -name __pycache__ -prune -exec rm -rf {} +
