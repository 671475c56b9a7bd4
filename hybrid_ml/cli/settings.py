"""The settings of commands that are no runs: they heed the same blocks and the same Variable as runs do."""

from deployments.service.instance_lock import join_running_server
from hybrid_ml.config.settings import DEFAULT, Settings, load_settings

DATABASE = ("neon_conn_str",)
BOT = ("neon_conn_str", "telegram_bot_token", "telegram_chat_id")


def settings_for(needed: tuple[str, ...]) -> Settings:
    """The settings now; `needed` are those that the command works with and that a block may offer.

    Where environment and `.env` state them all, they win anyway, and neither is Prefect loaded nor its server asked.
    Else a configured server that does not answer is an error: going on with another database in silence is worse.
    """
    settings = load_settings()
    if settings.hybrid_ml_blocks and any(settings.origin(name) == DEFAULT for name in needed):
        join_running_server()
        from tasks.configuration import take_configuration_outside

        take_configuration_outside()
        settings = load_settings()
    return settings
