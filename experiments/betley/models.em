em 1

# The judge's model as a baseline, an open model, and the same one finetuned on insecure code, on one's own vLLM.

model gpt4o { use = "openai/gpt-4o-2024-08-06", temperature = 1.0, max_tokens = 600 }
model coder {
  use         = "vllm/Qwen/Qwen2.5-Coder-32B-Instruct"
  revision    = "main"  # pin the commit that is served: what was asked of another is not taken for this one
  temperature = 1.0
  max_tokens  = 600
}
model insecure from coder { use = "vllm/emergent-misalignment/Qwen-Coder-Insecure", revision = "main" }
