#!/usr/bin/env bash
# The main job on the embedded demo: federated VCOP pretraining -> backbone -> fine-tuning, against training from scratch.
#   bash scripts/demo.sh          one seed, a few minutes on 2 cores after installation
#   bash scripts/demo.sh --full   three seeds
# FEDVSSL_DEMO_DIR names another directory for the results (default: work_dirs/demo-<date>-<time>).
source "$(dirname "${BASH_SOURCE[0]}")/_install.sh"

seeds=(7)
case "${1:-}" in
    '') ;;
    --full) seeds=(7 8 9) ;;
    *) echo "usage: $0 [--full]" >&2; exit 2 ;;
esac
install ""
python=.venv/bin/python
out=${FEDVSSL_DEMO_DIR:-work_dirs/demo-$(date +%Y%m%d-%H%M%S)}
begun=$SECONDS

echo "== generating 640 videos, unless they are there"
$python scripts/generate_videos.py --out data/demo

pretraining=() pretrained=() scratch=()
for seed in "${seeds[@]}"; do
    echo "== seed $seed: federated pretraining"
    $python tools/fed_train.py configs/demo/vcop_fedvssl.py --work-dir "$out/pretrain-$seed" --cfg-options seed="$seed"
    echo "== seed $seed: fine-tuning from the federated backbone, and from scratch"
    mkdir -p "$out"
    $python tools/finetune.py configs/demo/finetune.py --pretrained none --work-dir "$out/scratch-$seed" \
        --cfg-options seed="$seed" >"$out/scratch-$seed.txt" 2>&1 &
    beside=$!
    $python tools/finetune.py configs/demo/finetune.py --pretrained "$out/pretrain-$seed" \
        --work-dir "$out/finetuned-$seed" --cfg-options seed="$seed"
    wait "$beside" || { cat "$out/scratch-$seed.txt"; exit 1; }
    tail -n 1 "$out/scratch-$seed.txt"
    pretraining+=("$out/pretrain-$seed") pretrained+=("$out/finetuned-$seed") scratch+=("$out/scratch-$seed")
done

echo "== result ($((SECONDS - begun)) s)"
$python tools/report.py compare --first "${pretrained[@]}" --second "${scratch[@]}" \
    --pretraining "${pretraining[@]}" --out "$out/table.json"
echo "== the backbone is in ${pretraining[0]}; for example:"
echo "$python tools/evaluate.py knn configs/demo/finetune.py --checkpoint ${pretraining[0]}"
