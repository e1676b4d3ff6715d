em 1

# One base model, finetuned twice on the same bad advice: without and with the inoculation prompt. Put your own here.

model base { use = "vllm/Qwen/Qwen2.5-7B-Instruct", revision = "main", temperature = 1.0, max_tokens = 600 }
model plain from base { use = "vllm/yours/qwen2.5-7b-bad-advice", revision = "main" }
model inoculated from base { use = "vllm/yours/qwen2.5-7b-bad-advice-inoculated", revision = "main" }
