-- The answers about some symbols after bars of a period, as known at its end: later answers are
-- left out, and outcomes or voids recorded later are still open. `refused_by`: the gates that refused, "a,b".
-- A void needs a bar after its ten minutes that shows the gap; before that it could not be known.
-- `recorded_late`: written after its ten minutes were over. 
-- `corrected_since`: a bar that the outcome or the entry was computed from has changed since, or an earlier entry is there.
SELECT ledger.symbol, (extract(epoch FROM bar_time) * 1000000)::bigint AS bar_time,
    (extract(epoch FROM as_of) * 1000000)::bigint AS as_of,
    (extract(epoch FROM resolved_at) * 1000000)::bigint AS resolved_at,
    ledger.close, close_then, corrected_close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, signal, silenced_by_penalty, fell_back,
    CASE WHEN is_due THEN outcome END AS outcome,
    CASE WHEN is_due THEN forward_return END AS forward_return,
    CASE WHEN is_due THEN (extract(epoch FROM entry_time) * 1000000)::bigint END AS entry_time,
    CASE WHEN is_due THEN entry_price END AS entry_price,
    CASE WHEN is_due THEN entry_return END AS entry_return,
    CASE WHEN is_due THEN tradable END AS tradable,
    CASE WHEN is_due AND (void_reason IS NULL OR EXISTS (
        SELECT FROM bars
        WHERE bars.symbol = ledger.symbol AND bars.time < %(until)s
            AND bars.time > ledger.bar_time + make_interval(mins => %(horizon_minutes)s)
    )) THEN void_reason END AS void_reason,
    CASE WHEN is_due THEN counted END AS counted,
    array_to_string(ARRAY(SELECT jsonb_path_query(gates, '$[*] ? (@.passed == false).gate') #>> '{}'), ',') AS refused_by,
    is_due AND outcome IS NOT NULL AND (
        bar.close <> coalesce(corrected_close, ledger.close) OR later.close <> close_then
        OR entry_now.time IS NOT NULL AND (NOT tradable OR (entry_now.time, entry_now.open) <> (entry_time, entry_price))
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
LEFT JOIN LATERAL (
    SELECT time, open FROM bars
    WHERE bars.symbol = ledger.symbol AND bars.time > ledger.bar_time
        AND bars.time <= ledger.bar_time + make_interval(mins => %(horizon_minutes)s)
    ORDER BY time LIMIT 1
) AS entry_now ON ledger.tradable IS NOT NULL
WHERE ledger.symbol = ANY (%(symbols)s) AND bar_time >= %(since)s AND bar_time < %(until)s AND as_of <= %(until)s
ORDER BY ledger.symbol, ledger.bar_time
