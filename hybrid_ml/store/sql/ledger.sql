-- The answers about some symbols after bars of a period, as they stood at its end: an answer made later
-- is left out, an outcome or a void told of later is still open. `refused_by`: the gates that said no, "a,b".
-- A void needs a bar after its ten minutes that shows the gap, or it could not be known of yet.
-- `recorded_late`: it was written when its ten minutes were over. `corrected_since`: a bar the outcome rests on is no longer what it was when the outcome was told.
SELECT ledger.symbol, (extract(epoch FROM bar_time) * 1000000)::bigint AS bar_time,
    (extract(epoch FROM as_of) * 1000000)::bigint AS as_of,
    (extract(epoch FROM resolved_at) * 1000000)::bigint AS resolved_at,
    ledger.close, close_then, corrected_close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, signal, silenced_by_penalty, degraded, fell_back,
    CASE WHEN is_due THEN outcome END AS outcome,
    CASE WHEN is_due THEN forward_return END AS forward_return,
    CASE WHEN is_due AND (void_reason IS NULL OR EXISTS (
        SELECT FROM bars
        WHERE bars.symbol = ledger.symbol AND bars.time < %(until)s
            AND bars.time > ledger.bar_time + make_interval(mins => %(horizon_minutes)s)
    )) THEN void_reason END AS void_reason,
    CASE WHEN is_due THEN counted END AS counted,
    array_to_string(ARRAY(SELECT jsonb_path_query(gates, '$[*] ? (@.passed == false).gate') #>> '{}'), ',') AS refused_by,
    is_due AND outcome IS NOT NULL AND (
        bar.close <> coalesce(corrected_close, ledger.close) OR later.close <> close_then
    ) IS TRUE AS corrected_since,
    ledger.created_at >= bar_time + make_interval(mins => %(horizon_minutes)s + 1) AS recorded_late
FROM predictions AS ledger
CROSS JOIN LATERAL (
    SELECT bar_time + make_interval(mins => %(horizon_minutes)s + 1) <= %(until)s AS is_due
) AS moment
LEFT JOIN bars AS bar ON bar.symbol = ledger.symbol AND bar.time = ledger.bar_time
LEFT JOIN LATERAL (
    SELECT close FROM bars
    WHERE bars.symbol = ledger.symbol AND bars.time <= ledger.bar_time + make_interval(mins => %(horizon_minutes)s)
    ORDER BY time DESC LIMIT 1
) AS later ON ledger.close_then IS NOT NULL
WHERE ledger.symbol = ANY (%(symbols)s) AND bar_time >= %(since)s AND bar_time < %(until)s AND as_of <= %(until)s
ORDER BY ledger.symbol, ledger.bar_time
