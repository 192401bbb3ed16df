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
  // Mixture of experts: feed-forward networks per layer, and how many of them each token uses. 0: one dense network.
  std::uint32_t experts = 0;
  std::uint32_t experts_per_token = 0;

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
inline constexpr std::uint32_t kMaxExperts = 1u << 10;

// Every rule a configuration must keep, once: RULE(field, message, condition on `c`). Validate turns a broken rule into
// an error value (files), StaticSpec into a failed static_assert with the same words (compile-time configurations).
// Comparisons of floats are written so that NaN breaks the rule.
#define INLAY_CONFIG_RULES(RULE)                                                                                      \
  RULE("dim", "must be 1 .. 2^22", c.dim >= 1 && c.dim <= kMaxDimension)                                              \
  RULE("layers", "must be 1 .. 4096", c.layers >= 1 && c.layers <= kMaxLayers)                                        \
  RULE("heads", "must be 1 .. 4096", c.heads >= 1 && c.heads <= kMaxHeads)                                            \
  RULE("kv_heads", "must be 1 .. heads and divide heads",                                                             \
       c.kv_heads >= 1 && c.kv_heads <= c.heads && c.heads % c.kv_heads == 0)                                         \
  RULE("head_dim", "must be even and 2 .. 512", c.head_dim >= 2 && c.head_dim <= kMaxHeadDim && c.head_dim % 2 == 0)  \
  RULE("ffn_dim", "must be 1 .. 2^22", c.ffn_dim >= 1 && c.ffn_dim <= kMaxDimension)                                  \
  RULE("vocab", "must be 1 .. 2^22", c.vocab >= 1 && c.vocab <= kMaxDimension)                                        \
  RULE("context", "must be 1 .. 2^28", c.context >= 1 && c.context <= kMaxContext)                                    \
  RULE("rope_dim", "must be even and at most head_dim", c.rope_dim <= c.head_dim && c.rope_dim % 2 == 0)              \
  RULE("rope_base", "must be 1 .. 1e12", c.rope_base >= 1.0f && c.rope_base <= 1e12f)                                 \
  RULE("rope_scale", "must be 0.001 .. 1e6", c.rope_scale >= 1e-3f && c.rope_scale <= 1e6f)                           \
  RULE("norm_epsilon", "must be 0 .. 1", c.norm_epsilon >= 0.0f && c.norm_epsilon <= 1.0f)                            \
  RULE("experts", "must be at most 1024", c.experts <= kMaxExperts)                                                   \
  RULE("experts_per_token", "must be 1 .. experts, or 0 without experts",                                             \
       c.experts == 0 ? c.experts_per_token == 0 : c.experts_per_token >= 1 && c.experts_per_token <= c.experts)

// The first rule that the configuration breaks: kMismatch, naming the field.
constexpr Result<void> Validate(const ModelConfig& c) {
#define INLAY_DETAIL_RULE(field, message, condition) \
  if (!(condition)) return Fail(ErrorCode::kMismatch, field, message);
  INLAY_CONFIG_RULES(INLAY_DETAIL_RULE)
#undef INLAY_DETAIL_RULE
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_MODEL_CONFIG_HPP_
