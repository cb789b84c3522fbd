from configs.loading import config_from_args, load_config, save_config
from configs.schema import Config

__all__ = ["Config", "config_from_args", "load_config", "save_config"]
