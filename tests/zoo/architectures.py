"""The architectures of the zoo: how each is built, what it is called with, which layers put out.

Sizes are the smallest that keep an architecture's structure; weights are random. Names of
torchvision and timm are the libraries' own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from tests.zoo import own
from torch import nn

from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.networks.examples import Example

Draw = Callable[[torch.Generator], Example]


@dataclass(frozen=True)
class Architecture:
    """One network of the zoo.

    `outputs` are the parameters whose rows are the network's outputs. `weights` are patterns of
    weights that are no weight of a layer of torch, such as those of experts. `refused` has part
    of the reason for each stage of a trial that is refused. `onnx`: whether it is exported.
    """

    build: Callable[[], nn.Module]
    example: Draw
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    onnx: bool = False


# what networks are called with


def normal(*shape: int) -> Draw:
    """Normal numbers."""
    return lambda generator: torch.randn(shape, generator=generator)


def tokens(names: tuple[str, ...], count: int, length: int = 12) -> Draw:
    """Sequences of whole numbers, by name."""
    return lambda generator: {
        name: torch.randint(3, count, (2, length), generator=generator) for name in names
    }


def positional_tokens(count: int, length: int = 12) -> Draw:
    """One batch of sequences of whole numbers."""
    return lambda generator: torch.randint(0, count, (2, length), generator=generator)


def named(name: str, *shape: int) -> Draw:
    """Normal numbers, by name."""
    return lambda generator: {name: torch.randn(shape, generator=generator)}


# how networks are built


def from_torchvision(name: str, **settings: Any) -> nn.Module:
    """A network of torchvision, its weights at random."""
    models = torch_extra("torchvision.models", "the zoo")
    built: nn.Module = models.get_model(name, weights=None, **settings)
    return built


def segmentation() -> nn.Module:
    """A fully convolutional network on a ResNet-50 without its own weights."""
    models = torch_extra("torchvision.models", "the zoo")
    built: nn.Module = models.get_model(
        "fcn_resnet50", weights=None, weights_backbone=None, num_classes=5
    )
    return built


def small_vision_transformer() -> nn.Module:
    """A vision transformer of torchvision for pictures of 32 pixels."""
    models = torch_extra("torchvision.models", "the zoo")
    built: nn.Module = models.VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=10,
    )
    return built


def from_timm(name: str, **settings: Any) -> nn.Module:
    """A network of timm, its weights at random."""
    built: nn.Module = torch_extra("timm", "the zoo").create_model(name, **settings)
    return built


def from_transformers(model: str, config: str, **settings: Any) -> nn.Module:
    """A network of transformers of a configuration."""
    torch_extra("torchvision", "the zoo")  # which transformers imports for pictures
    import transformers

    chosen = getattr(transformers, config)(**settings)
    # whole loops of Python operations, which run on every machine
    chosen._attn_implementation = "eager"
    built: nn.Module = getattr(transformers, model)(chosen)
    return built


PICTURE, SMALL = normal(2, 3, 64, 64), normal(2, 3, 32, 32)


def _torchvision() -> dict[str, Architecture]:
    plain = {
        "resnet18": "fc.weight",
        "resnet50": "fc.weight",
        "resnext50_32x4d": "fc.weight",
        "mobilenet_v2": "classifier.1.weight",
        "mobilenet_v3_small": "classifier.3.weight",
        "efficientnet_b0": "classifier.1.weight",
        "densenet121": "classifier.weight",
        "regnet_y_400mf": "fc.weight",
        "shufflenet_v2_x0_5": "fc.weight",
        "squeezenet1_1": "classifier.1.weight",
        "convnext_tiny": "classifier.2.weight",
        "mnasnet0_5": "classifier.1.weight",
        "vgg11_bn": "classifier.6.weight",
        "swin_t": "head.weight",
    }
    exported = ("resnet18", "mobilenet_v2")
    found = {
        name: Architecture(
            partial(from_torchvision, name), PICTURE, (output,), onnx=name in exported
        )
        for name, output in plain.items()
    }
    googlenet = partial(from_torchvision, "googlenet", aux_logits=False, init_weights=False)
    found["googlenet"] = Architecture(googlenet, PICTURE, ("fc.weight",))
    inception = partial(from_torchvision, "inception_v3", aux_logits=False, init_weights=False)
    found["inception_v3"] = Architecture(inception, normal(2, 3, 96, 96), ("fc.weight",))
    vit = small_vision_transformer
    found["vit_b_16 (small)"] = Architecture(vit, SMALL, ("heads.head.weight",), onnx=True)
    found["fcn_resnet50"] = Architecture(segmentation, PICTURE, ("classifier.4.weight",))
    return found


def _timm() -> dict[str, Architecture]:
    small = {"img_size": 64, "depth": 3}
    settings: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "vit_tiny_patch16_224": (small, ("head.weight",)),
        "deit_tiny_distilled_patch16_224": (small, ("head.weight", "head_dist.weight")),
        "swin_tiny_patch4_window7_224": (
            {"img_size": 64, "window_size": 4, "depths": (1, 1, 2, 1)},
            ("head.fc.weight",),
        ),
        "repvgg_a0": ({}, ("head.fc.weight",)),
        "mixer_s32_224": ({"img_size": 64}, ("head.weight",)),
        "res2net50_26w_4s": ({"layers": (1, 1, 1, 1)}, ("fc.weight",)),
        "resnest14d": ({}, ("fc.weight",)),
        "convmixer_768_32": ({}, ("head.weight",)),
        "xcit_nano_12_p16_224": ({"img_size": 64, "depth": 2}, ("head.weight",)),
        "cait_xxs24_224": ({"img_size": 64, "depth": 2}, ("head.weight",)),
        "ghostnet_100": ({}, ("classifier.weight",)),
        "eva02_tiny_patch14_224": (
            {"img_size": 56, "depth": 2, "num_classes": 10},
            ("head.weight",),
        ),
    }
    sizes = {"eva02_tiny_patch14_224": normal(2, 3, 56, 56)}
    return {
        f"timm {name}": Architecture(
            partial(from_timm, name, **given), sizes.get(name, PICTURE), outputs
        )
        for name, (given, outputs) in settings.items()
    }


def _transformers() -> dict[str, Architecture]:
    decoder = {
        "vocab_size": 200,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "use_cache": False,
    }
    untied = decoder | {"tie_word_embeddings": False}
    encoder = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    ids = tokens(("input_ids",), 200)
    both = tokens(("input_ids", "decoder_input_ids"), 200)
    build = from_transformers
    head = ("lm_head.weight",)
    experts = ("*.experts.gate_up_proj", "*.experts.down_proj", "*.mlp.gate.weight")
    distil = {"dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4, "vocab_size": 200}
    gpt = {
        "vocab_size": 200,
        "n_positions": 32,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
    }
    t5 = {"vocab_size": 200, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2}
    whisper = {
        "num_mel_bins": 16,
        "d_model": 64,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "max_source_positions": 20,
        "classifier_proj_size": 32,
    }
    speech = encoder | {
        "vocab_size": 20,
        "conv_dim": (32, 32),
        "conv_stride": (5, 2),
        "conv_kernel": (10, 3),
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "apply_spec_augment": False,
    }
    mamba = {"vocab_size": 200, "hidden_size": 64, "state_size": 8, "num_hidden_layers": 2}
    picture = encoder | {"image_size": 32, "patch_size": 8, "num_labels": 10}
    return {
        "BERT": Architecture(
            partial(
                build,
                "BertForSequenceClassification",
                "BertConfig",
                **encoder,
                vocab_size=200,
                num_labels=3,
            ),
            ids,
            ("classifier.weight",),
            onnx=True,
        ),
        "DistilBERT": Architecture(
            partial(build, "DistilBertForSequenceClassification", "DistilBertConfig", **distil),
            ids,
            ("classifier.weight",),
        ),
        "GPT-2": Architecture(
            partial(build, "GPT2LMHeadModel", "GPT2Config", **gpt, use_cache=False),
            ids,
            ("transformer.wte.weight",),
        ),
        "Llama, grouped queries": Architecture(
            partial(build, "LlamaForCausalLM", "LlamaConfig", **untied), ids, head
        ),
        "Llama, tied": Architecture(
            partial(build, "LlamaForCausalLM", "LlamaConfig", **decoder, tie_word_embeddings=True),
            ids,
            ("model.embed_tokens.weight",),
        ),
        "Mistral": Architecture(
            partial(build, "MistralForCausalLM", "MistralConfig", **untied), ids, head
        ),
        "Qwen2": Architecture(
            partial(build, "Qwen2ForCausalLM", "Qwen2Config", **untied), ids, head
        ),
        "Qwen3": Architecture(
            partial(build, "Qwen3ForCausalLM", "Qwen3Config", **untied, head_dim=16), ids, head
        ),
        "Gemma": Architecture(
            partial(build, "GemmaForCausalLM", "GemmaConfig", **decoder, head_dim=16),
            ids,
            ("model.embed_tokens.weight",),
        ),
        "Mixtral": Architecture(
            partial(build, "MixtralForCausalLM", "MixtralConfig", **untied, num_local_experts=4),
            ids,
            head,
            weights=experts,
        ),
        "T5": Architecture(
            partial(
                build, "T5ForConditionalGeneration", "T5Config", **t5, num_heads=4, use_cache=False
            ),
            both,
            ("shared.weight",),
        ),
        "ViT": Architecture(
            partial(build, "ViTForImageClassification", "ViTConfig", **picture),
            named("pixel_values", 2, 3, 32, 32),
            ("classifier.weight",),
        ),
        "Whisper encoder": Architecture(
            partial(build, "WhisperForAudioClassification", "WhisperConfig", **whisper),
            named("input_features", 2, 16, 40),
            ("classifier.weight",),
        ),
        "Wav2Vec2": Architecture(
            partial(build, "Wav2Vec2ForCTC", "Wav2Vec2Config", **speech),
            named("input_values", 2, 400),
            head,
        ),
        "Mamba": Architecture(
            partial(
                build,
                "MambaForCausalLM",
                "MambaConfig",
                **mamba,
                use_cache=False,
                use_mambapy=False,
            ),
            ids,
            ("backbone.embeddings.weight",),
        ),
    }


def _own() -> dict[str, Architecture]:
    table: Mapping[str, tuple[Callable[[], nn.Module], Draw, tuple[str, ...]]] = {
        "LSTM": (own.LSTMClassifier, positional_tokens(100), ("fc.weight",)),
        "GRU, bidirectional": (own.BidirectionalGRU, normal(2, 9, 12), ("label.weight",)),
        "TransformerEncoder": (own.EncoderClassifier, normal(2, 7, 10), ("fc.weight",)),
        "MultiheadAttention": (own.AttentionPooling, normal(2, 7, 10), ("fc.weight",)),
        "U-Net": (own.UNet, SMALL, ("head.weight",)),
        "YOLOv8-like C2f": (own.C2fNet, PICTURE, ("fc.weight",)),
        "grouped convolutions": (own.GroupedConvolutions, SMALL, ("fc.weight",)),
        "tied embedding": (own.TiedLanguageModel, positional_tokens(90), ("embed.weight",)),
        "shared layer": (own.SharedLayer, SMALL, ("fc.weight",)),
        "weight-normed TCN": (own.WeightNormedTCN, normal(2, 4, 30), ("fc.weight",)),
        "two heads": (own.TwoHeads, normal(4, 20), ("kind.weight", "size.2.weight")),
        "3-D convolutions": (own.VolumeNet, normal(2, 1, 8, 8, 8), ("fc.weight",)),
        "ResNet-14, option A": (own.PaddedResNet, SMALL, ("fc.weight",)),
        "squeeze-excitation": (own.SqueezeExcitationNet, SMALL, ("fc.weight",)),
        "autoencoder": (own.Autoencoder, normal(2, 1, 16, 16), ("decoder.3.weight",)),
    }
    exported = ("U-Net", "two heads")
    return {name: Architecture(*entry, onnx=name in exported) for name, entry in table.items()}


ZOO: Mapping[str, Architecture] = _torchvision() | _timm() | _transformers() | _own()

# Those that the ordinary suite runs too: seconds in all, and each another kind of coupling.
QUICK = (
    "resnet18",
    "vit_b_16 (small)",
    "Llama, grouped queries",
    "YOLOv8-like C2f",
    "GRU, bidirectional",
    "two heads",
)
