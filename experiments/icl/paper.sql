-- The numbers of the paper that are public, beside those of this store, with their difference: `emdsl query
-- experiments/icl/paper.sql`. All three studies of this folder must have run.
WITH published(what, published, published_low, published_high) AS (VALUES
  ('Gemini 3 Pro, k = 16, bad advice', 0.214::DOUBLE, 0.173::DOUBLE, 0.255::DOUBLE),
  ('Gemini 3 Pro, k = 16, TruthfulQA', 0.242, 0.197, 0.286),
  ('Qwen3-Next-80B Instruct, k = 16, bad advice', 0.0, NULL, NULL),
  ('Gemini 3 Pro, k = 16, safety first', 0.012, NULL, NULL),
  ('Gemini 3 Pro, k = 16, context first', 0.412, NULL, NULL),
  ('Gemini 3 Pro, k = 16, 25 % incorrect', 0.016, NULL, NULL)),
measured AS (
  SELECT 'Gemini 3 Pro, k = 16, bad advice' AS what, rate, low, high, n, complete, simulated
  FROM "experiments/icl/advice".em_advice WHERE model = 'gemini_3_pro' AND k = 16
  UNION ALL
  SELECT 'Gemini 3 Pro, k = 16, TruthfulQA', rate, low, high, n, complete, simulated
  FROM "experiments/icl/truthfulqa".em_truthfulqa WHERE model = 'gemini_3_pro' AND k = 16
  UNION ALL
  SELECT 'Qwen3-Next-80B Instruct, k = 16, bad advice', rate, low, high, n, complete, simulated
  FROM "experiments/icl/advice".em_advice WHERE model = 'qwen3_next_instruct' AND k = 16
  UNION ALL
  SELECT 'Gemini 3 Pro, k = 16, ' || CASE above WHEN 'safety' THEN 'safety first' ELSE 'context first' END,
    rate, low, high, n, complete, simulated
  FROM "experiments/icl/ablations".em_priority WHERE model = 'gemini_3_pro' AND above <> 'none'
  UNION ALL
  SELECT 'Gemini 3 Pro, k = 16, 25 % incorrect', rate, low, high, n, complete, simulated
  FROM "experiments/icl/ablations".em_share WHERE model = 'gemini_3_pro' AND share = 0.25)
SELECT what, published, published_low, published_high, round(rate, 3) AS ours, round(low, 3) AS low,
  round(high, 3) AS high, round(rate - published, 3) AS difference, n, complete, simulated
FROM published JOIN measured USING (what)
