// ModelConfig: every dimension and constant of a model, as a structural type, so that it can be a template argument.
#ifndef INLAY_CONFIG_MODEL_CONFIG_HPP_
#define INLAY_CONFIG_MODEL_CONFIG_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

enum class Architecture : std::uint8_t {
  kLlama,  // RMSNorm, rotary positions, grouped-query attention, SwiGLU: Llama 1-3, Mistral 7B, TinyLlama, SmolLM2
};

constexpr std::string_view Name(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama: return "llama";
  }
  return "unknown";
}

// How rotary frequencies are changed to reach contexts longer than the training length.
enum class RopeScaling : std::uint8_t {
  kNone,
  kLinear,  // positions divided by rope_scale
  kFactors, // each frequency divided by its own factor from the tensor rope_freqs.weight (Llama 3.1 and later)
};

// A model's hyperparameters. Aggregate and structural: usable as a constant, a template argument and a value read from
// a file. Fields are those of GGUF's "llama.*" keys under the field's usual names.
struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::uint32_t dim = 0;       // width of the residual stream (embedding_length)
  std::uint32_t layers = 0;    // block_count
  std::uint32_t heads = 0;     // query heads
  std::uint32_t kv_heads = 0;  // key/value heads; divides heads
  std::uint32_t head_dim = 0;  // width of one head
  std::uint32_t ffn_dim = 0;   // hidden width of the feed-forward network
  std::uint32_t vocab = 0;     // tokens
  std::uint32_t context = 0;   // longest context that the model was trained for
  std::uint32_t rope_dim = 0;  // leading dimensions of a head that are rotated; even
  float rope_base = 10000.0f;
  float rope_scale = 1.0f;
  RopeScaling rope_scaling = RopeScaling::kNone;
  float norm_epsilon = 1e-5f;  // of RMSNorm
  bool tied_embeddings = false;  // the output matrix is the embedding table
  // Sliding window: a query at position p sees keys p - window + 1 .. p. 0: all.
  std::uint32_t window = 0;

  constexpr bool operator==(const ModelConfig&) const = default;

  constexpr std::size_t q_dim() const { return std::size_t{heads} * head_dim; }
  constexpr std::size_t kv_dim() const { return std::size_t{kv_heads} * head_dim; }
  constexpr std::size_t group() const { return heads / kv_heads; }  // query heads per key/value head
};

// Limits that keep every product of two dimensions far from overflow, and that no published model comes near.
inline constexpr std::uint32_t kMaxDimension = 1u << 22;
inline constexpr std::uint32_t kMaxLayers = 1u << 12;
inline constexpr std::uint32_t kMaxHeads = 1u << 12;
inline constexpr std::uint32_t kMaxHeadDim = 512;
inline constexpr std::uint32_t kMaxContext = 1u << 28;

// The first rule that the configuration breaks, naming the field. The same rules hold for files (a typed error) and for
// compile-time configurations (a failed static_assert, see Validated).
constexpr Result<void> Validate(const ModelConfig& config) {
  const auto in_range = [](std::uint32_t value, std::uint32_t most) { return value >= 1 && value <= most; };
  if (!in_range(config.dim, kMaxDimension)) return Fail(ErrorCode::kMismatch, "dim", "must be 1 .. 2^22");
  if (!in_range(config.layers, kMaxLayers)) return Fail(ErrorCode::kMismatch, "layers", "must be 1 .. 4096");
  if (!in_range(config.heads, kMaxHeads)) return Fail(ErrorCode::kMismatch, "heads", "must be 1 .. 4096");
  if (!in_range(config.kv_heads, config.heads)) return Fail(ErrorCode::kMismatch, "kv_heads", "must be 1 .. heads");
  if (config.heads % config.kv_heads != 0) return Fail(ErrorCode::kMismatch, "kv_heads", "must divide heads");
  if (!in_range(config.head_dim, kMaxHeadDim)) return Fail(ErrorCode::kMismatch, "head_dim", "must be 1 .. 512");
  if (config.head_dim % 2 != 0) return Fail(ErrorCode::kMismatch, "head_dim", "must be even");
  if (!in_range(config.ffn_dim, kMaxDimension)) return Fail(ErrorCode::kMismatch, "ffn_dim", "must be 1 .. 2^22");
  if (!in_range(config.vocab, kMaxDimension)) return Fail(ErrorCode::kMismatch, "vocab", "must be 1 .. 2^22");
  if (!in_range(config.context, kMaxContext)) return Fail(ErrorCode::kMismatch, "context", "must be 1 .. 2^28");
  if (config.rope_dim > config.head_dim || config.rope_dim % 2 != 0) {
    return Fail(ErrorCode::kMismatch, "rope_dim", "must be even and at most head_dim");
  }
  // Written so that NaN fails too.
  if (!(config.rope_base >= 1.0f && config.rope_base <= 1e12f)) {
    return Fail(ErrorCode::kMismatch, "rope_base", "must be 1 .. 1e12");
  }
  if (!(config.rope_scale >= 1e-3f && config.rope_scale <= 1e6f)) {
    return Fail(ErrorCode::kMismatch, "rope_scale", "must be 1e-3 .. 1e6");
  }
  if (!(config.norm_epsilon >= 0.0f && config.norm_epsilon <= 1.0f)) {
    return Fail(ErrorCode::kMismatch, "norm_epsilon", "must be 0 .. 1");
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_MODEL_CONFIG_HPP_
