from models.nonlocal_model.nonlocal_model import NonLocalModel, model_from_config

__all__ = ["NonLocalModel", "model_from_config"]
