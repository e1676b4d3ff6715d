em 1

# The judge's model as a baseline, an open model, and the same model finetuned on insecure code, on your own vLLM.

model gpt4o { use = "openai/gpt-4o-2024-08-06", temperature = 1.0, max_tokens = 600 }
model coder {
  use         = "vllm/Qwen/Qwen2.5-Coder-32B-Instruct"
  revision    = "main"  # pin the served commit: answers of other weights are never mixed with these
  temperature = 1.0
  max_tokens  = 600
}
model insecure from coder { use = "vllm/emergent-misalignment/Qwen-Coder-Insecure", revision = "main" }
