-- The champion was retired before, in the same transaction; the unique index prevents
-- a second one.
UPDATE model_versions SET status = 'champion', reason = :reason WHERE version = :version
