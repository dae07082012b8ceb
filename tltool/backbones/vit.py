"""ViT and DeiT as flat functional models, from KerasHub's backbones.

KerasHub's ViT and DeiT keep all blocks inside one layer, so a model on them
can be neither cut nor frozen between blocks, and a saved one cannot be loaded
again (the configurations of their layers do not fit their constructors).
Here the same network is built of public layers and gets the same weights.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
from keras import layers

from tltool.backbones.layers import FirstToken, TokensAndPositions
from tltool.errors import BackboneError


def flatten_vit(backbone: Any, name: str) -> keras.Model:
    """Rebuilds a `ViTBackbone` or `DeiTBackbone` as a flat model with equal outputs.

    Args:
        backbone: The KerasHub model.
        name: Of the backbone, for messages.

    Returns:
        Functional model from images (batch, height, width, 3) to the class
        token's features (batch, hidden_dim); the layer `final_norm` gives all
        tokens. In training, dropout also falls on attention probabilities and
        not between the two layers of the MLP.

    Raises:
        BackboneError: A variant without class token or without attention biases.
    """
    config = backbone.get_config()
    distilled = isinstance(backbone, keras_hub.models.DeiTBackbone)
    needed = ("use_mha_bias", "use_mlp_bias", "use_class_token")
    lacking = [key for key in needed if not config.get(key, True)]
    if lacking:
        raise BackboneError(
            f"Backbone {name!r}: a ViT with {lacking[0]}=False is not supported.",
            hint="take one with a class token and biases, such as vit_base_patch16_224_imagenet",
        )
    prefix = "deit" if distilled else "vit"
    embedding = backbone.get_layer(f"{prefix}_patching_and_embedding")
    encoder = backbone.get_layer(f"{prefix}_encoder")
    model = _build(config, prefix_tokens=2 if distilled else 1)
    _copy_embedding(model, embedding, distilled)
    for index, block in enumerate(encoder.encoder_layers):
        _copy_block(model.get_layer(f"transformer_layer_{index}"), block)
    model.get_layer("final_norm").set_weights(encoder.layer_norm.get_weights())
    return model


def _build(config: dict[str, Any], prefix_tokens: int) -> keras.Model:
    width, rate = config["hidden_dim"], config["dropout_rate"]
    image = keras.Input(tuple(config["image_shape"]), name="image")
    x = layers.Conv2D(
        width,
        config["patch_size"],
        config["patch_size"],
        use_bias=config.get("use_patch_bias", True),
        name="patch_embedding",
    )(image)
    x = layers.Reshape((x.shape[1] * x.shape[2], width), name="patches")(x)
    x = TokensAndPositions(prefix_tokens, name="tokens_and_positions")(x)
    x = layers.Dropout(rate, name="embeddings_dropout")(x)
    for index in range(config["num_layers"]):
        x = keras_hub.layers.TransformerEncoder(
            intermediate_dim=config.get("mlp_dim", config.get("intermediate_dim")),
            num_heads=config["num_heads"],
            dropout=rate,
            activation="gelu",
            layer_norm_epsilon=config["layer_norm_epsilon"],
            normalize_first=True,
            name=f"transformer_layer_{index}",
        )(x)
    x = layers.LayerNormalization(epsilon=config["layer_norm_epsilon"], name="final_norm")(x)
    return keras.Model(image, FirstToken(name="pooled")(x), name="vit")


def _copy_embedding(model: keras.Model, embedding: Any, distilled: bool) -> None:
    model.get_layer("patch_embedding").set_weights(embedding.patch_embedding.get_weights())
    tokens = [embedding.class_token]
    positions = embedding.position_embedding
    if distilled:
        tokens.append(embedding.distillation_token)
    else:
        positions = positions.embeddings
    target = model.get_layer("tokens_and_positions")
    target.tokens.assign(keras.ops.concatenate([keras.ops.reshape(t, (1, -1)) for t in tokens]))
    target.positions.assign(keras.ops.reshape(positions, target.positions.shape))


def _copy_block(target: Any, source: Any) -> None:
    """Copies a block: the source lists norm, attention, norm, MLP; the target attention first."""
    weights = source.get_weights()
    norm, attention, rest = weights[:2], weights[2:10], weights[10:]
    target.set_weights([*attention, *norm, *rest])
