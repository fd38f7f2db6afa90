# Make owns the order, Python the freshness: every target is a verb, and each stage skips what its key proves done.
.DEFAULT_GOAL := help
.PHONY: help demo all extract probe baselines finetune lrfind curve robustness pictures latency doctor quality compare board export features predict similar recipe verify explain test slow nets docs faults bench bench-decode bench-precision bench-heads bench-scale bench-gpu bench-peers lint clean

PYTHON ?= python3
VENV   ?= .venv
PEERS  ?= .venv-peers
SOURCES = pipeline tests docs/hooks.py
PROBELINE = @$(VENV)/bin/probeline

# A variable gives its option if it has a value, else probeline's own default holds. A path or a name is one word.
option = $(if $($(1)),--$(2) $($(1)))
quoted = $(if $($(1)),--$(2) "$($(1))")
flag   = $(if $($(1)),--$(2))

ifeq ($(origin GROUPS),command line)
$(error GROUPS is called GROUP_FILE, since bash reserves GROUPS in the environment)
endif

# The groups of options, as probeline/options/settings.py has them: a verb is given those that it uses and no others.
DATA_GROUP     = $(call quoted,DATASET,dataset) $(call quoted,DATA,data) $(call option,LIMIT,limit) $(call option,DATA_SEED,data-seed) \
	$(call quoted,LABELS,labels) $(call option,COLUMN_NAMES,columns) $(call quoted,IMAGE_FOLDER,images) $(call quoted,GROUP_FILE,groups) \
	$(call option,TASK,task) $(call quoted,SEPARATOR,separator) $(call flag,STRICT,strict)
NET_GROUP      = $(call option,BACKBONES,backbone) $(call quoted,WEIGHTS,weights) $(call option,IMAGE_SIZE,image-size) $(call option,PRECISION,precision) \
	$(call option,ALPHA,alpha) $(call option,GREY_RANGE,grey-range)
VIEWS_GROUP    = $(call option,VIEWS,views)
TAP_GROUP      = $(call option,TAPS,tap) $(VIEWS_GROUP)
TOKENS_GROUP   = $(call option,TOKENS_GB,tokens-gb)
DEVICE_GROUP   = $(call option,DEVICE,device) $(call option,WORKERS,workers)
COMPUTE_GROUP  = $(DEVICE_GROUP) $(call option,BATCH_SIZE,batch-size) $(call option,DECODE_GB,decode-gb)
CANARY_GROUP   = $(call option,CANARY,canary)
SEED_GROUP     = $(call option,SEED,seed)
METRIC_GROUP   = $(call option,METRIC,metric)
WEIGHTS_GROUP  = $(call option,CLASS_WEIGHTS,class-weights)
SEEDS_GROUP    = $(SEED_GROUP) $(call option,SEEDS,seeds) $(METRIC_GROUP) $(WEIGHTS_GROUP)
HEAD_GROUP     = $(call option,SGD,sgd) $(call option,MLP,mlp) $(call option,ATTENTIVE,attentive) $(call option,ORDINAL,ordinal) $(call option,ESTIMATOR,estimator) \
	$(call option,ESTIMATOR_PARAMS,estimator-params) $(call flag,ZERO_SHOT,zero-shot) $(call option,TEMPLATES,template) \
	$(call option,CLASS_TEXTS,class-text) $(call flag,FULL_PATH,full-path)
STRATEGY_GROUP = $(call option,STRATEGY,strategy)
TRAIN_GROUP    = $(call option,EPOCHS,epochs) $(call option,LR,lr) $(call option,TRAIN,train) $(call option,UNFREEZE,unfreeze) \
	$(call quoted,TEACHER,teacher) $(call option,SECOND,second) $(call option,FROZEN_GB,frozen-gb) $(call flag,FREEZE_BATCHNORM,freeze-batchnorm)
CURVE_GROUP    = $(call option,FRACTIONS,fractions) $(call option,SHOTS,shots) $(call option,DRAWS,draws) $(call option,CURVE_STRATEGY,curve-strategy)
CORRUPT_GROUP  = $(call option,CORRUPTIONS,corruption) $(call quoted,OOD,ood)
PICTURE_GROUP  = $(call option,MAP,map)
COMPARE_GROUP  = $(call quoted,ADD,add) $(call option,REPORT_BY,report-by) $(call option,COSTS,costs)
EXPORT_GROUP   = $(call option,METHOD,method) $(call quoted,OUT,out) $(call option,TRAIN_ROWS,train-rows) $(call flag,PT2,pt2) $(call flag,ONNX,onnx)
BOARD_GROUP    = $(call option,IMAGE_SIZE,image-size) $(call option,PRECISION,precision) $(TAP_GROUP) $(METRIC_GROUP) \
	$(call option,METHOD,method) $(call quoted,OUT,out)
BOARD_STEPS    = $(call quoted,DATA,data) $(call option,LIMIT,limit) $(call option,DATA_SEED,data-seed) $(call flag,STRICT,strict) \
	$(call option,BACKBONES,backbone) $(call quoted,WEIGHTS,weights) $(COMPUTE) $(call option,SEEDS,seeds) $(call option,EPOCHS,epochs)
PREDICT_GROUP  = $(call quoted,ARTIFACT,artifact) $(call flag,IMAGENET,imagenet) $(call option,TOP_K,top-k) $(call option,NEAREST,nearest) \
	$(call option,FORMAT,format)
SIMILAR_GROUP  = $(call option,COUNT,count) $(call flag,APPROXIMATE,approximate)
FOLDER_GROUP   = $(call quoted,CACHE,cache) $(call quoted,REPORTS,reports)

NET      = $(DATA_GROUP) $(NET_GROUP) $(FOLDER_GROUP)
COMPUTE  = $(COMPUTE_GROUP) $(CANARY_GROUP)
FEATURES = $(NET) $(TAP_GROUP) $(TOKENS_GROUP) $(COMPUTE)
TRAINING = $(STRATEGY_GROUP) $(TRAIN_GROUP)
STAGES   = $(FEATURES) $(SEEDS_GROUP) $(HEAD_GROUP) $(TRAINING) $(CURVE_GROUP)

help:  ## show the targets and their variables
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo
	@echo '  data         DATASET=digits|cifar10|hymenoptera|folder:PATH DATA= LIMIT= DATA_SEED= LABELS=FILE.csv GROUP_FILE=FILE.csv STRICT=1'
	@echo '               or table:FILE arrays:FILE.npz torchvision:NAME hf:NAME wds:PATTERN features:FILE; COLUMN_NAMES="label=class" IMAGE_FOLDER='
	@echo '               TASK=multi-label|regression SEPARATOR="|"'
	@echo '  backbones    BACKBONES="resnet18 timm:NAME" WEIGHTS=DEFAULT|none|PATH IMAGE_SIZE= PRECISION= TAPS="penultimate layer3 last-4" VIEWS='
	@echo '               ALPHA=white GREY_RANGE=auto TOKENS_GB='
	@echo '  computing    DEVICE= WORKERS= BATCH_SIZE= DECODE_GB= CANARY= CACHE= REPORTS='
	@echo '  heads        SEED= SEEDS= METRIC=macro CLASS_WEIGHTS=balanced or "CLASS=W" SGD="lr=1e-3,1e-2" MLP="width=512"'
	@echo '               ATTENTIVE="queries=8" ORDINAL="small medium large" ESTIMATOR=sklearn.svm:SVC ESTIMATOR_PARAMS="C=1,10"'
	@echo '               ZERO_SHOT=1 TEMPLATES="\"a photo of a {}.\"" CLASS_TEXTS="\"CLASS=TEXT\"" FULL_PATH=1'
	@echo '  training     STRATEGY="last-1 lp-ft full" EPOCHS= LR= TRAIN="lr=1e-3,1e-2 clip=1" UNFREEZE= TEACHER=BACKBONE FROZEN_GB='
	@echo '               FREEZE_BATCHNORM=1 SECOND="NAME=CLASS,CLASS NAME=CLASS" or FILE.csv'
	@echo '  curve        FRACTIONS= SHOTS= DRAWS= CURVE_STRATEGY='
	@echo '  pictures     MAP=tsne   robustness  CORRUPTIONS="fog snow:3" OOD=DATASET'
	@echo '  export       METHOD= OUT= TRAIN_ROWS= PT2=1 ONNX=1   compare  ADD=FILE.csv REPORT_BY=FILE.csv:COLUMN COSTS="a=1 b=20"'
	@echo '  predict      IMAGES= ARTIFACT= IMAGENET=1 TOP_K= NEAREST= FORMAT=   similar  IMAGES="train:7 a.jpg" COUNT= APPROXIMATE=1'
	@echo '  recipe, board  NAME=   bench-heads, bench-gpu, bench-peers  ONLY=   bench-peers  ARGS='
	@echo '  environment  PYTHON= VENV= PEERS='
	@echo '  (probeline VERB --help says what each means; a target uses only the variables that its verb has an option for)'

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

# Peers want other versions than the suite does, so they have an environment of their own. The constraints are those of
# constraints.txt but for what the peers refuse.
PEER_FILES = tests/bench_peers/requirements.txt tests/bench_peers/requirements-alone.txt
$(PEERS)/ready: pyproject.toml constraints.txt $(PEER_FILES)
	@$(PYTHON) -m venv $(PEERS)
	@grep -v -e '^pillow==' -e '^pandas==' constraints.txt > $(PEERS)/constraints.txt
	@$(PEERS)/bin/python -m pip install -q --disable-pip-version-check -c $(PEERS)/constraints.txt -e '.[timm]' -r $(word 1,$(PEER_FILES))
	@$(PEERS)/bin/python -m pip install -q --disable-pip-version-check --no-deps --ignore-requires-python -r $(word 2,$(PEER_FILES))
	@touch $@

demo: $(VENV)/demo  ## install, then probe, baselines, fine-tune and from scratch on bundled data and weights
	$(PROBELINE) run --recipe demo

all: $(VENV)/demo  ## run every stage on DATASET with BACKBONES
	$(PROBELINE) run $(STAGES) $(COMPARE_GROUP)

extract: $(VENV)/demo  ## run each frozen backbone once and cache its features
	$(PROBELINE) extract $(FEATURES)

probe: extract  ## fit linear heads on the cached features
	$(PROBELINE) probe $(FEATURES) $(SEEDS_GROUP) $(HEAD_GROUP)

baselines: extract  ## fit scikit-learn logistic regression, ridge regression, k-NN and nearest centroid on them
	$(PROBELINE) baselines $(FEATURES) $(METRIC_GROUP) $(WEIGHTS_GROUP)

finetune: $(VENV)/demo  ## train the net or its upper stages (STRATEGY), from its weights and from scratch
	$(PROBELINE) finetune $(NET) $(VIEWS_GROUP) $(COMPUTE) $(SEEDS_GROUP) $(TRAINING)

lrfind: $(VENV)/demo  ## run a learning-rate range test of each STRATEGY
	$(PROBELINE) lrfind $(NET) $(VIEWS_GROUP) $(COMPUTE) $(SEED_GROUP) $(WEIGHTS_GROUP) $(TRAINING)

curve: extract  ## fit the exact probe on 1 % to 100 % of the train images, several draws each: the learning curve
	$(PROBELINE) curve $(FEATURES) $(SEED_GROUP) $(METRIC_GROUP) $(WEIGHTS_GROUP) $(TRAIN_GROUP) $(CURVE_GROUP)

robustness: extract  ## score the exact probe on corrupted copies of the test images (CORRUPTIONS="fog snow:3")
	$(PROBELINE) robustness $(FEATURES) $(METRIC_GROUP) $(CORRUPT_GROUP)

pictures: $(VENV)/demo  ## draw stages, first filters, an input, most common errors and an embedding map of each backbone (MAP=tsne)
	$(PROBELINE) pictures $(NET) $(COMPUTE) $(PICTURE_GROUP)

latency: $(VENV)/demo  ## time the forward pass of each backbone on DEVICE, the nets in turn
	$(PROBELINE) latency $(NET) $(DEVICE_GROUP)

doctor: extract  ## check the data with the cached features: duplicates and leaks, likely label errors, outliers
	$(PROBELINE) doctor $(NET) $(COMPUTE)

quality: extract  ## measure the cached features alone: rank, dimension, predictors, retrieval, clusters, similarity
	$(PROBELINE) quality $(NET) $(call option,TAPS,tap) $(COMPUTE)

compare: $(VENV)/demo  ## write the page, the tables and the figures of all scores of DATASET
	$(PROBELINE) compare $(NET) $(TAP_GROUP) $(SEEDS_GROUP) $(HEAD_GROUP) $(TRAINING) $(CURVE_GROUP) $(COMPARE_GROUP)

board: $(VENV)/demo  ## compare backbones over the reports of several data sets, or over those of the recipe NAME, which is run first
	$(PROBELINE) board $(if $(NAME),$(call quoted,NAME,recipe) $(BOARD_STEPS)) $(BOARD_GROUP) $(FOLDER_GROUP)

export: $(VENV)/$(if $(ONNX),onnx,demo)  ## write one row of the report (METHOD, or the best on validation) as a folder OUT that classifies new images
	$(PROBELINE) export $(FEATURES) $(SEED_GROUP) $(EXPORT_GROUP)

features: $(VENV)/demo  ## write cached features with labels, predictions and a projection as a file OUT for other programs
	$(PROBELINE) features $(FEATURES) $(call quoted,OUT,out)

predict: $(VENV)/demo  ## classify IMAGES (files or folders) with the exported folder ARTIFACT, or with a stock net: IMAGENET=1
	$(PROBELINE) predict $(IMAGES) $(PREDICT_GROUP) $(NET_GROUP) $(COMPUTE_GROUP) $(FOLDER_GROUP)

similar: $(VENV)/demo  ## find the cached images nearest to IMAGES (files, or rows such as train:7), and draw them
	$(PROBELINE) similar $(IMAGES) $(NET) $(call option,TAPS,tap) $(COMPUTE) $(SIMILAR_GROUP) $(call option,FORMAT,format) $(call quoted,OUT,out)

recipe: $(VENV)/demo  ## run a recipe, packaged or a TOML file: make recipe NAME=demo
	$(PROBELINE) run $(or $(call quoted,NAME,recipe),$(error make recipe needs NAME, such as NAME=demo or NAME=my.toml)) $(STAGES) $(PICTURE_GROUP) $(COMPARE_GROUP)

verify: $(VENV)/demo  ## check every byte of the cache, and its rows against images and nets
	$(PROBELINE) verify $(FEATURES)

explain: $(VENV)/demo  ## show which fields of the key differ from the nearest cached entry
	$(PROBELINE) explain $(NET) $(TAP_GROUP)

test: $(VENV)/dev  ## lint, types and all tests but the long ones, offline
	@$(VENV)/bin/ruff check $(SOURCES)
	@$(VENV)/bin/ruff format --check -q $(SOURCES)
	@$(VENV)/bin/mypy & types=$$!; OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal; tests=$$?; \
	wait $$types && exit $$tests

slow: $(VENV)/dev  ## the long tests: one net of each family of torchvision's and timm's, the page in a browser, and further cases of what the others check
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal -m slow

nets: $(VENV)/dev  ## the taps and stages of the other nets of torchvision, up to vit_h_14: for a new version of torch or torchvision, not in .ci/run
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal -m nets

docs: $(VENV)/docs  ## build the documentation strictly and offline into site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

lint: $(VENV)/dev  ## format and lint the sources, check the types
	@$(VENV)/bin/ruff format $(SOURCES)
	@$(VENV)/bin/ruff check --fix $(SOURCES)
	@$(VENV)/bin/mypy

faults: $(VENV)/dev  ## kills, flipped bytes, full disks, many writers, power loss: what the cache survives
	@OMP_NUM_THREADS=1 $(VENV)/bin/python tests/faults

bench: $(VENV)/dev  ## time extraction against a plain loop and the bare forward pass
	$(PROBELINE) bench $(NET) $(COMPUTE)

bench-decode: $(VENV)/dev  ## measure how long decoding holds the interpreter's lock, and time threads and processes that decode
	@$(VENV)/bin/python tests/bench_decode $(call quoted,DATA,data)

bench-precision: $(VENV)/dev  ## measure how far features and probes in fp16 and bf16 are from those in fp32, and why
	@$(VENV)/bin/python tests/bench_precision $(call quoted,DATA,data) $(call quoted,CACHE,cache) $(call option,DEVICE,device)

bench-scale: $(VENV)/dev  ## measure how the cache grows, up to ten million rows, and what 200,000 files cost a later stage
	@$(VENV)/bin/python tests/bench_scale

bench-heads: $(VENV)/dev  ## time heads against scikit-learn and plain loops, on the cached features of cifar10 x mobilenet_v2
	@$(VENV)/bin/python tests/bench_heads $(call quoted,DATA,data) $(call quoted,CACHE,cache) $(call option,ONLY,only)

bench-gpu: $(VENV)/dev  ## measure a GPU's limits, and extraction, heads and training compared with them, in less than ten minutes
	@$(VENV)/bin/python tests/bench_gpu $(call option,DEVICE,device) $(call option,ONLY,only)

bench-peers: $(PEERS)/ready  ## run the same jobs with Probeline and with other tools, in an environment of their own (ARGS="--only number")
	@$(PEERS)/bin/python tests/bench_peers $(call quoted,DATA,data) $(call option,ONLY,only) $(ARGS)

clean:  ## remove what was built; embeddings, scores and data stay
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis pipeline/*.egg-info
	find pipeline tests -name __pycache__ -prune -exec rm -rf {} +
