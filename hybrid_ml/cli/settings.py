"""The settings of commands that are no runs: from the same blocks and the same Variable as those of runs."""

from deployments.service.instance_lock import join_running_server
from hybrid_ml.config.settings import DEFAULT, Settings, load_settings

DATABASE = ("neon_conn_str",)
BOT = ("neon_conn_str", "telegram_bot_token", "telegram_chat_id")


def settings_for(needed: tuple[str, ...]) -> Settings:
    """The settings now; `needed`: those that the command needs and that a block may set.

    Where environment and `.env` state them all, they take precedence, and Prefect is neither imported nor called.
    Else a configured server that does not answer is an error: using another database unnoticed would be worse.
    """
    settings = load_settings()
    if settings.hybrid_ml_blocks and any(settings.origin(name) == DEFAULT for name in needed):
        join_running_server()
        from tasks.configuration import load_configuration_for_command

        load_configuration_for_command()
        settings = load_settings()
    return settings
