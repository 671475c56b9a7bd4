UPDATE model_events
SET symbol = :to,
    version = coalesce((SELECT new_version FROM renamed WHERE renamed.version = model_events.version), version),
    previous = coalesce((SELECT new_version FROM renamed WHERE renamed.version = model_events.previous), previous)
WHERE symbol = :symbol
