"""From a signal to a message in the chats: its words, its outbox, Telegram."""
