// What each tensor of a model is for: the one table from which names, shapes, the packed layout, binding and synthetic
// files follow. A new family adds roles here and nothing elsewhere.
// Names: the GGUF specification and ggml's conventions for the llama family.
#ifndef INLAY_WEIGHTS_TENSOR_ROLES_HPP_
#define INLAY_WEIGHTS_TENSOR_ROLES_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/text_buffer.hpp"

INLAY_BEGIN_NAMESPACE

enum class TensorRole : std::uint8_t {
  // Once per model.
  kTokenEmbedding,
  kOutputNorm,
  kOutput,
  kRopeFactors,
  // Once per layer.
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kAttentionOutput,
  kFfnNorm,
  kRouter,
  kGate,
  kUp,
  kDown,
};

inline constexpr std::size_t kModelRoles = 4;
inline constexpr std::size_t kLayerRoles = 10;

struct TensorRoleInfo {
  TensorRole role;
  std::string_view name;          // in a file; after "blk.N." for tensors of a layer
  std::string_view expert_name;   // the name where the model has experts, if another
};

inline constexpr std::array<TensorRoleInfo, kModelRoles + kLayerRoles> kTensorRoles = {{
    {TensorRole::kTokenEmbedding, "token_embd.weight", {}},
    {TensorRole::kOutputNorm, "output_norm.weight", {}},
    {TensorRole::kOutput, "output.weight", {}},
    {TensorRole::kRopeFactors, "rope_freqs.weight", {}},
    {TensorRole::kAttentionNorm, "attn_norm.weight", {}},
    {TensorRole::kQuery, "attn_q.weight", {}},
    {TensorRole::kKey, "attn_k.weight", {}},
    {TensorRole::kValue, "attn_v.weight", {}},
    {TensorRole::kAttentionOutput, "attn_output.weight", {}},
    {TensorRole::kFfnNorm, "ffn_norm.weight", {}},
    {TensorRole::kRouter, "ffn_gate_inp.weight", {}},
    {TensorRole::kGate, "ffn_gate.weight", "ffn_gate_exps.weight"},
    {TensorRole::kUp, "ffn_up.weight", "ffn_up_exps.weight"},
    {TensorRole::kDown, "ffn_down.weight", "ffn_down_exps.weight"},
}};

constexpr bool IsLayerRole(TensorRole role) { return static_cast<std::size_t>(role) >= kModelRoles; }

// Vectors are float32 whatever the file holds; matrices are packed in their own type.
constexpr bool IsVector(TensorRole role) {
  return role == TensorRole::kOutputNorm || role == TensorRole::kRopeFactors || role == TensorRole::kAttentionNorm ||
         role == TensorRole::kFfnNorm;
}

// A tensor is `count` matrices of [rows, cols]; count > 1 for experts. Vectors have rows = 1.
struct TensorShape {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t count = 1;
  constexpr bool operator==(const TensorShape&) const = default;
};

constexpr TensorShape ShapeOf(const ModelConfig& c, TensorRole role) {
  const std::size_t experts = c.experts == 0 ? 1 : c.experts;
  switch (role) {
    case TensorRole::kTokenEmbedding: return {c.vocab, c.dim};
    case TensorRole::kOutputNorm: return {1, c.dim};
    case TensorRole::kOutput: return {c.vocab, c.dim};
    case TensorRole::kRopeFactors: return {1, c.rope_dim / 2};
    case TensorRole::kAttentionNorm: return {1, c.dim};
    case TensorRole::kQuery: return {c.q_dim(), c.dim};
    case TensorRole::kKey: return {c.kv_dim(), c.dim};
    case TensorRole::kValue: return {c.kv_dim(), c.dim};
    case TensorRole::kAttentionOutput: return {c.dim, c.q_dim()};
    case TensorRole::kFfnNorm: return {1, c.dim};
    case TensorRole::kRouter: return {c.experts, c.dim};
    case TensorRole::kGate: return {c.ffn_dim, c.dim, experts};
    case TensorRole::kUp: return {c.ffn_dim, c.dim, experts};
    case TensorRole::kDown: return {c.dim, c.ffn_dim, experts};
  }
  return {};
}

// Whether a model of this configuration has the tensor.
constexpr bool HasRole(const ModelConfig& c, TensorRole role) {
  switch (role) {
    case TensorRole::kOutput: return !c.tied_embeddings;
    case TensorRole::kRopeFactors: return c.rope_scaling == RopeScaling::kFactors;
    case TensorRole::kRouter: return c.experts != 0;
    default: return true;
  }
}

// One tensor of a model: its role and, for tensors of a layer, the layer.
struct TensorId {
  TensorRole role;
  std::uint32_t layer = 0;
  constexpr bool operator==(const TensorId&) const = default;
};

// Tensors are numbered densely: those of the model, then layer by layer. Roles that a configuration lacks keep their
// number, so that it depends on nothing but role and layer.
constexpr std::size_t TensorCount(const ModelConfig& c) { return kModelRoles + std::size_t{c.layers} * kLayerRoles; }
constexpr std::size_t TensorIndex(TensorId id) {
  const std::size_t role = static_cast<std::size_t>(id.role);
  return IsLayerRole(id.role) ? std::size_t{id.layer} * kLayerRoles + role : role;
}
constexpr TensorId TensorAt(std::size_t index) {
  if (index < kModelRoles) return {static_cast<TensorRole>(index)};
  const std::size_t rest = index - kModelRoles;
  return {static_cast<TensorRole>(kModelRoles + rest % kLayerRoles), static_cast<std::uint32_t>(rest / kLayerRoles)};
}

// The tensor's name in a GGUF file.
constexpr TextBuffer<96> TensorName(const ModelConfig& c, TensorId id) {
  const TensorRoleInfo& info = kTensorRoles[static_cast<std::size_t>(id.role)];
  const std::string_view name = c.experts != 0 && !info.expert_name.empty() ? info.expert_name : info.name;
  TextBuffer<96> text;
  if (IsLayerRole(id.role)) text.Append("blk.").Append(id.layer).Append('.');
  text.Append(name);
  return text;
}

// The tensor that a name in a file means for this configuration; nothing when it is none of the model's.
constexpr std::optional<TensorId> ParseTensorName(const ModelConfig& c, std::string_view name) {
  std::uint32_t layer = 0;
  const bool in_layer = name.starts_with("blk.");
  if (in_layer) {
    name.remove_prefix(4);
    std::size_t digits = 0;
    while (digits < name.size() && digits < 5 && name[digits] >= '0' && name[digits] <= '9') {
      layer = layer * 10 + static_cast<std::uint32_t>(name[digits++] - '0');
    }
    const bool leading_zero = digits > 1 && name[0] == '0';
    if (digits == 0 || leading_zero || digits >= name.size() || name[digits] != '.' || layer >= c.layers) return {};
    name.remove_prefix(digits + 1);
  }
  for (const TensorRoleInfo& info : kTensorRoles) {
    const std::string_view expected = c.experts != 0 && !info.expert_name.empty() ? info.expert_name : info.name;
    if (expected == name && IsLayerRole(info.role) == in_layer && HasRole(c, info.role)) return TensorId{info.role, layer};
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_TENSOR_ROLES_HPP_
