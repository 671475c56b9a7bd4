-- One statement after the champion was retired in the same transaction; the unique index holds
-- that there is never a second one.
UPDATE model_versions SET status = 'champion', reason = :reason WHERE version = :version
