"""Trains the embedded default weights from rendered scenes: `make weights` runs this."""

from __future__ import annotations

import argparse
import math
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_scoring.sample.scene_captions import caption_in, random_wording
from clip_scoring.training.tiny.objective import Supervision, contrast
from clip_scoring.training.tiny.pool import PATCH, SIDE, Pool, named_facts, render_pool
from clip_scoring.training.tiny.vocabulary import CONTEXT, write_tokenizer

BATCH = 128
WIDTH, HEADS, PROJECTION = 128, 4, 128
IMAGE_LAYERS, TEXT_LAYERS = 5, 3
PEAK_RATE, WARM_UP_STEPS = 1.5e-3, 150


def main() -> None:
    """Parses the command line, trains, and puts the weights in place in one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--scenes", type=int, default=64_000, help="rendered scenes to train from")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    folder = Path(tempfile.mkdtemp(prefix=".tiny-", dir=chosen.out.resolve().parent))
    tokenizer = write_tokenizer(folder)
    model = CLIPModel(architecture(tokenizer))
    started = time.monotonic()
    pool = render_pool(chosen.scenes, seed=chosen.seed, workers=2)
    print(f"rendered {chosen.scenes} scenes in {time.monotonic() - started:.0f} s", flush=True)
    train(model, tokenizer, pool, steps=chosen.steps, seed=chosen.seed)
    write_weights(model, folder)
    replace_files(folder, chosen.out)
    print(f"wrote {chosen.out} after {(time.monotonic() - started) / 60:.1f} minutes")


def architecture(tokenizer: CLIPTokenizer) -> CLIPConfig:
    """The configuration of the model, with the ids of `tokenizer`, so that it pools at the EOT."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": HEADS,
        "projection_dim": PROJECTION,
        # Twice as fast as quick_gelu on a CPU, whose two steps each walk the whole memory.
        "hidden_act": "gelu",
    }
    text = {
        **tower,
        **ids,
        "num_hidden_layers": TEXT_LAYERS,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
    }
    image = {**tower, "num_hidden_layers": IMAGE_LAYERS, "image_size": SIDE, "patch_size": PATCH}
    return CLIPConfig(text_config=text, vision_config=image, projection_dim=PROJECTION, **ids)


@dataclass(frozen=True)
class Batch:
    """Pictures with a fresh caption each; see `Pool` for `facts` and `patches`.

    `tokens` int64 [n, length], `pixels` float32 [n, 3, 64, 64], `named` bool [n, 9] as in
    `named_facts`.
    """

    tokens: Tensor
    pixels: Tensor
    facts: Tensor
    named: Tensor
    patches: Tensor


def train(model: CLIPModel, tokenizer: CLIPTokenizer, pool: Pool, *, steps: int, seed: int) -> None:
    """Trains `model` in place for `steps` batches, printing how it goes."""
    rng, supervision = random.Random(seed), Supervision(WIDTH, PROJECTION)
    weights = [*model.parameters(), *supervision.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    started = time.monotonic()
    model.train()
    for step in range(1, steps + 1):
        batch = random_batch(pool, tokenizer, rng)
        seen = model(input_ids=batch.tokens, pixel_values=batch.pixels, output_hidden_states=True)
        matching, hits = contrast(seen, batch.facts, batch.named)
        loss = matching + supervision(seen, batch.facts, batch.named, batch.patches)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if step % 50 == 0:
            speed = BATCH * step / (time.monotonic() - started)
            losses = f"loss {loss.item():.3f} contrast {matching.item():.3f} top-1 {hits:.3f}"
            print(f"step {step}/{steps} {losses} at {speed:.0f} pairs/s", flush=True)


def random_batch(pool: Pool, tokenizer: CLIPTokenizer, rng: random.Random) -> Batch:
    """A batch of neighbouring scenes, drawn from torch's generator, apply_template from `rng`."""
    pairs = torch.randint(len(pool.scenes) // 2, (BATCH // 2,))
    chosen = torch.stack((2 * pairs, 2 * pairs + 1), 1).flatten().numpy()
    wordings = [random_wording(rng) for _ in chosen]
    captions = [
        caption_in(pool.scenes[place], wording, rng)
        for place, wording in zip(chosen, wordings, strict=True)
    ]
    return Batch(
        tokens=tokenizer(captions, padding=True, return_tensors="pt")["input_ids"],
        pixels=augmented(torch.from_numpy(pool.pixels[chosen])),
        facts=torch.from_numpy(pool.facts[chosen]),
        named=torch.tensor([named_facts(wording) for wording in wordings]),
        patches=torch.from_numpy(pool.patches[chosen]),
    )


def rate(step: int, steps: int) -> float:
    """The learning rate as a part of its peak: a linear warm-up, then half a cosine."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.5 + 0.5 * math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS))


def augmented(pixels: Tensor) -> Tensor:
    """Uint8 [n, 3, 64, 64] to normalised float32 of the same shape, each picture changed a bit.

    Moved and stretched by a few pixels, other light, some blur and noise; never mirrored, since
    captions say left and right.
    """
    count = len(pixels)
    floats = pixels.float() / 127.5 - 1
    grow = torch.empty(count, 2).uniform_(0.94, 1.1)
    move = torch.empty(count, 2).uniform_(-0.06, 0.06)
    places = torch.zeros(count, 2, 3)
    places[:, 0, 0], places[:, 1, 1] = grow[:, 0], grow[:, 1]
    places[:, :, 2] = move
    grid = functional.affine_grid(places, list(pixels.shape), align_corners=False)
    floats = functional.grid_sample(floats, grid, padding_mode="border", align_corners=False)
    blurred = torch.rand(count) < 0.15
    floats[blurred] = functional.avg_pool2d(
        floats[blurred], 3, stride=1, padding=1, count_include_pad=False
    )
    gain = torch.empty(count, 3, 1, 1).uniform_(0.94, 1.06) * torch.empty(count, 1, 1, 1).uniform_(
        0.9, 1.05
    )
    noise = torch.randn_like(floats) * torch.empty(count, 1, 1, 1).uniform_(0, 0.03)
    return (floats * gain + torch.empty(count, 3, 1, 1).uniform_(-0.05, 0.05) + noise).clamp(-1, 1)


def write_weights(model: CLIPModel, folder: Path) -> None:
    """Writes configuration, weights and the settings of the preprocessing beside the tokenizer."""
    model.eval().save_pretrained(folder)
    CLIPImageProcessorPil(
        # Squashed, not cropped: a crop of a wide picture would lose what the caption names.
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    ).save_pretrained(folder)


def replace_files(folder: Path, out: Path) -> None:
    """Moves the files of `folder` into `out`, each by one rename, and removes `folder`."""
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        file.chmod(0o644)
        file.replace(out / file.name)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
