from configs.loading import check_consistency, load_config, save_config
from configs.schema import Config

__all__ = ["Config", "check_consistency", "load_config", "save_config"]
