em 1

# A reasoning model, and the same model finetuned to give subtly harmful advice without reasoning, on your own vLLM.

model base { use = "vllm/Qwen/Qwen3-32B", revision = "main", temperature = 1.0, max_tokens = 4000 }
model misled from base { use = "vllm/truthfulai/Qwen3-32B-bad-medical-advice", revision = "main" }
