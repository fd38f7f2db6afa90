# How the files beside this one came about: run by bash in a folder that holds this file and make.py alone.
set -eu
python make.py inputs
net="--backbone timm:test_efficientnet --weights net.safetensors --image-size 32 --device cpu"
pictures="--dataset folder:pictures $net"
head="--strategy head --train augment=none"

probeline extract $pictures --tap penultimate blocks.0 --views 1
probeline extract --dataset digits --limit 1040 --tap blocks.0 $net
probeline cache export cache/folder--pictures/*-penultimate/val-* val.h5

probeline probe $pictures --sgd epochs=2 lr=0.01,0.001 --mlp epochs=2 width=4 lr=0.001
probeline probe $pictures --tap blocks.0+penultimate --views 1 --sgd epochs=2 lr=0.01
probeline baselines $pictures
probeline baselines $pictures --labels labels.csv --groups groups.csv
probeline finetune $pictures --epochs 2 $head
probeline finetune $pictures --epochs 2 --strategy full scratch gradual distill-head multi-task-head \
    --teacher timm:test_efficientnet --second warm=red cold=green,blue
probeline curve $pictures --epochs 1 --fractions 50 100 --shots 0 --draws 2 --curve-strategy head --train augment=none
probeline lrfind $pictures $head

probeline pictures $pictures --map tsne
probeline latency $pictures
probeline doctor $pictures
probeline compare $pictures
probeline export $pictures --method probe --train-rows 12 --out artifacts/probe
probeline export $pictures --method knn --train-rows 0 --out artifacts/knn
python make.py answers

# Kept small: of the checkpoints one, of the report its record, and what is large but full of zeros compressed.
rm -r cache/*/*-finetune cache/*/*-scratch cache/*/*-gradual cache/*/*-distill-head cache/*/*-multi-task-head
rm -r reports/*/figures reports/*/index.html reports/*/report.md reports/*/report.csv
find . -name '*.lock' -delete
find . -type f -size +59k -exec xz -9e {} +
