-- The paper's published numbers beside those of this store, with the difference: `emdsl query experiments/icl/paper.sql`.
-- A number without a result yet names the command that measures it. `published_n` is the number of answers behind a
-- published rate p: stated by the paper, or implied by its Wald interval, p (1 - p) (1.96 / half its width)^2.
SET VARIABLE paper = [
  {what: 'Gemini 3 Pro, k = 16, bad advice', published: 0.214::DOUBLE, published_low: 0.173::DOUBLE,
   published_high: 0.255::DOUBLE, stated_n: NULL::INT, study: 'advice', measure: 'em_advice',
   which: 'model = ''gemini_3_pro'' AND k = 16'},
  {what: 'Gemini 3 Pro, k = 16, TruthfulQA', published: 0.242, published_low: 0.197, published_high: 0.286, stated_n: NULL,
   study: 'truthfulqa', measure: 'em_truthfulqa', which: 'model = ''gemini_3_pro'' AND k = 16'},
  {what: 'Qwen3-Next-80B Instruct, k = 16, bad advice', published: 0.0, published_low: NULL, published_high: NULL,
   stated_n: NULL, study: 'advice', measure: 'em_advice', which: 'model = ''qwen3_next_instruct'' AND k = 16'},
  {what: 'the highest of three models and datasets, k = 256', published: 0.58, published_low: NULL, published_high: NULL,
   stated_n: NULL, study: 'advice', measure: 'em_many_shots',
   which: 'k = 256 ORDER BY rate DESC LIMIT 1'},
  {what: 'Gemini 3 Pro, k = 16, safety first', published: 0.012, published_low: NULL, published_high: NULL, stated_n: NULL,
   study: 'ablations', measure: 'em_priority', which: 'model = ''gemini_3_pro'' AND above = ''safety'''},
  {what: 'Gemini 3 Pro, k = 16, context first', published: 0.412, published_low: NULL, published_high: NULL, stated_n: NULL,
   study: 'ablations', measure: 'em_priority', which: 'model = ''gemini_3_pro'' AND above = ''context'''},
  {what: 'Gemini 3 Pro, k = 16, 25 % incorrect', published: 0.016, published_low: NULL, published_high: NULL, stated_n: NULL,
   study: 'ablations', measure: 'em_share', which: 'model = ''gemini_3_pro'' AND share = 0.25'},
  {what: 'misaligned reasoning that adopts a persona', published: 0.675, published_low: NULL, published_high: NULL,
   stated_n: NULL, study: 'ablations', measure: 'persona', which: 'k = 16'},
  {what: 'misaligned reasoning that mentions the harm', published: 0.67, published_low: NULL, published_high: NULL,
   stated_n: 264, study: 'ablations', measure: 'goes_on', which: 'k = 16'}];
SET VARIABLE measured = (
  SELECT coalesce(
    string_agg('(SELECT ''' || what || ''' AS what, rate, low, high, n, complete, simulated FROM "' || table_schema || '".'
      || measure || ' WHERE ' || which || ')', ' UNION ALL '),
    'SELECT '''' AS what, 0.0 AS rate, 0.0 AS low, 0.0 AS high, 0 AS n, false AS complete, false AS simulated LIMIT 0')
  FROM (SELECT unnest(getvariable('paper'), recursive := true))
  JOIN information_schema.tables ON table_schema = 'experiments/icl/' || study AND table_name = measure);
SELECT what, published, published_low, published_high,
  coalesce(stated_n, round(published * (1 - published) * (2 * 1.96 / (published_high - published_low)) ** 2)::INT) AS published_n,
  round(rate, 3) AS ours, round(low, 3) AS low, round(high, 3) AS high, round(rate - published, 3) AS difference, n, complete,
  simulated, CASE WHEN rate IS NULL THEN 'emdsl run experiments/icl/' || study || '.em' END AS to_measure
FROM (SELECT unnest(getvariable('paper'), recursive := true)) LEFT JOIN query(getvariable('measured')) USING (what)
ORDER BY published DESC, what
