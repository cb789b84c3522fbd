"""The networks by the name that `MODEL.name` and --model_name give."""

from models.nonlocal_model import NonLocalModel, model_from_config

MODELS = {"NONLOCAL": model_from_config}


def build_model(config) -> NonLocalModel:
    """The network that `config.MODEL.name` names, with fresh weights."""
    return MODELS[config.MODEL.name](config)


__all__ = ["MODELS", "NonLocalModel", "build_model"]
