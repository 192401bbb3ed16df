// What each tensor of a model is for: the one table from which names, shapes, the packed layout, binding and synthetic
// files follow. A new tensor is a line of INLAY_TENSOR_ROLES, its shape and when a model has it: nothing elsewhere.
// Names: the GGUF specification and ggml's conventions; families whose files differ say so (config/families.hpp).
#ifndef INLAY_WEIGHTS_TENSOR_ROLES_HPP_
#define INLAY_WEIGHTS_TENSOR_ROLES_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "inlay/config/families.hpp"
#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/text_buffer.hpp"

INLAY_BEGIN_NAMESPACE

// ROLE(form, enumerator, member of ModelWeights or LayerWeights, name in a file; after "blk.N." for tensors of a layer).
// A kMatrix is packed in its own type, a kVector is float32 whatever the file holds.
#define INLAY_MODEL_ROLES(ROLE)                                                        \
  ROLE(kMatrix, kTokenEmbedding, token_embedding, "token_embd.weight")                 \
  ROLE(kMatrix, kPositionEmbedding, position_embedding, "position_embd.weight")        \
  ROLE(kMatrix, kTokenTypes, token_types, "token_types.weight")                        \
  ROLE(kVector, kEmbeddingNorm, embedding_norm, "token_embd_norm.weight")              \
  ROLE(kVector, kEmbeddingNormBias, embedding_norm_bias, "token_embd_norm.bias")       \
  ROLE(kVector, kOutputNorm, output_norm, "output_norm.weight")                        \
  ROLE(kVector, kOutputNormBias, output_norm_bias, "output_norm.bias")                 \
  ROLE(kMatrix, kOutput, output, "output.weight")                                      \
  ROLE(kVector, kOutputBias, output_bias, "output.bias")                               \
  ROLE(kVector, kRopeFactors, rope_factors, "rope_freqs.weight")                       \
  ROLE(kVector, kLongRopeFactors, long_rope_factors, "rope_factors_long.weight")       \
  ROLE(kVector, kShortRopeFactors, short_rope_factors, "rope_factors_short.weight")    \
  ROLE(kMatrix, kLayerInputTable, layer_input_table, "per_layer_token_embd.weight")    \
  ROLE(kMatrix, kLayerInputProjection, layer_input_projection, "per_layer_model_proj.weight") \
  ROLE(kVector, kLayerInputNorm, layer_input_norm, "per_layer_proj_norm.weight")       \
  ROLE(kMatrix, kStreamsIn, streams_in, "altup_proj.weight")                           \
  ROLE(kMatrix, kStreamsOut, streams_out, "altup_unembd_proj.weight")                  \
  ROLE(kMatrix, kHeadDense, head_dense, "cls.weight")                                  \
  ROLE(kVector, kHeadDenseBias, head_dense_bias, "cls.bias")                           \
  ROLE(kVector, kHeadNorm, head_norm, "cls.norm.weight")                               \
  ROLE(kMatrix, kHeadLabels, head_labels, "cls.output.weight")                         \
  ROLE(kVector, kHeadLabelBias, head_label_bias, "cls.output.bias")                    \
  ROLE(kMatrix, kHeadFirst, head_first, "dense_2.weight")                              \
  ROLE(kMatrix, kHeadLast, head_last, "dense_3.weight")

#define INLAY_LAYER_ROLES(ROLE)                                                            \
  ROLE(kVector, kAttentionNorm, attention_norm, "attn_norm.weight")                        \
  ROLE(kVector, kAttentionNormBias, attention_norm_bias, "attn_norm.bias")                 \
  ROLE(kMatrix, kQuery, query, "attn_q.weight")                                            \
  ROLE(kMatrix, kKey, key, "attn_k.weight")                                                \
  ROLE(kMatrix, kValue, value, "attn_v.weight")                                            \
  ROLE(kVector, kQueryBias, query_bias, "attn_q.bias")                                     \
  ROLE(kVector, kKeyBias, key_bias, "attn_k.bias")                                         \
  ROLE(kVector, kValueBias, value_bias, "attn_v.bias")                                     \
  ROLE(kVector, kQueryNorm, query_norm, "attn_q_norm.weight")                              \
  ROLE(kVector, kKeyNorm, key_norm, "attn_k_norm.weight")                                  \
  ROLE(kVector, kSinks, sinks, "attn_sinks.weight")                                        \
  ROLE(kMatrix, kQueryGate, query_gate, "attn_q_gate.weight")                              \
  ROLE(kMatrix, kLatentQueryDown, latent_query_down, "attn_q_a.weight")                    \
  ROLE(kVector, kLatentQueryNorm, latent_query_norm, "attn_q_a_norm.weight")               \
  ROLE(kMatrix, kLatentQueryUp, latent_query_up, "attn_q_b.weight")                        \
  ROLE(kMatrix, kLatentDown, latent_down, "attn_kv_a_mqa.weight")                          \
  ROLE(kVector, kLatentNorm, latent_norm, "attn_kv_a_norm.weight")                         \
  ROLE(kMatrix, kLatentKeys, latent_keys, "attn_k_b.weight")                               \
  ROLE(kMatrix, kLatentKeyRows, latent_key_rows, "attn_k_b_rows.weight")                   \
  ROLE(kMatrix, kLatentValues, latent_values, "attn_v_b.weight")                           \
  ROLE(kMatrix, kAttentionOutput, attention_output, "attn_output.weight")                  \
  ROLE(kVector, kAttentionOutputBias, attention_output_bias, "attn_output.bias")           \
  ROLE(kMatrix, kStateInput, state_input, "attn_qkv.weight")                               \
  ROLE(kMatrix, kStateGate, state_gate, "attn_gate.weight")                                \
  ROLE(kMatrix, kStateStrength, state_strength, "ssm_beta.weight")                         \
  ROLE(kMatrix, kStateStep, state_step, "ssm_alpha.weight")                                \
  ROLE(kVector, kStateConvolution, state_convolution, "ssm_conv1d.weight")                 \
  ROLE(kVector, kStateConvolutionBias, state_convolution_bias, "ssm_conv1d.bias")          \
  ROLE(kVector, kStateStepBias, state_step_bias, "ssm_dt.bias")                            \
  ROLE(kVector, kStateDecay, state_decay, "ssm_a")                                         \
  ROLE(kVector, kStateSkip, state_skip, "ssm_d")                                           \
  ROLE(kVector, kStateNorm, state_norm, "ssm_norm.weight")                                 \
  ROLE(kMatrix, kStateOutput, state_output, "ssm_out.weight")                              \
  ROLE(kVector, kPostAttentionNorm, post_attention_norm, "post_attention_norm.weight")     \
  ROLE(kVector, kPostAttentionNormBias, post_attention_norm_bias, "post_attention_norm.bias") \
  ROLE(kVector, kFfnNorm, ffn_norm, "ffn_norm.weight")                                     \
  ROLE(kVector, kFfnNormBias, ffn_norm_bias, "ffn_norm.bias")                              \
  ROLE(kMatrix, kGate, gate, "ffn_gate.weight")                                            \
  ROLE(kMatrix, kUp, up, "ffn_up.weight")                                                  \
  ROLE(kMatrix, kDown, down, "ffn_down.weight")                                            \
  ROLE(kVector, kGateBias, gate_bias, "ffn_gate.bias")                                     \
  ROLE(kVector, kUpBias, up_bias, "ffn_up.bias")                                           \
  ROLE(kVector, kDownBias, down_bias, "ffn_down.bias")                                     \
  ROLE(kMatrix, kRouter, router, "ffn_gate_inp.weight")                                    \
  ROLE(kVector, kRouterBias, router_bias, "ffn_gate_inp.bias")                             \
  ROLE(kVector, kSelectionBias, selection_bias, "exp_probs_b.bias")                        \
  ROLE(kMatrix, kExpertGate, expert_gate, "ffn_gate_exps.weight")                          \
  ROLE(kMatrix, kExpertUp, expert_up, "ffn_up_exps.weight")                                \
  ROLE(kMatrix, kExpertDown, expert_down, "ffn_down_exps.weight")                          \
  ROLE(kVector, kExpertGateBias, expert_gate_bias, "ffn_gate_exps.bias")                   \
  ROLE(kVector, kExpertUpBias, expert_up_bias, "ffn_up_exps.bias")                         \
  ROLE(kVector, kExpertDownBias, expert_down_bias, "ffn_down_exps.bias")                   \
  ROLE(kMatrix, kSharedGate, shared_gate, "ffn_gate_shexp.weight")                         \
  ROLE(kMatrix, kSharedUp, shared_up, "ffn_up_shexp.weight")                               \
  ROLE(kMatrix, kSharedDown, shared_down, "ffn_down_shexp.weight")                         \
  ROLE(kVector, kSharedRouter, shared_router, "ffn_gate_inp_shexp.weight")                 \
  ROLE(kVector, kPostFfnNorm, post_ffn_norm, "post_ffw_norm.weight")                       \
  ROLE(kVector, kPostFfnNormBias, post_ffn_norm_bias, "post_ffw_norm.bias")                \
  ROLE(kVector, kRouterNorm, router_norm, "ffn_gate_inp.scale")                            \
  ROLE(kVector, kExpertNorm, expert_norm, "pre_ffw_norm_2.weight")                         \
  ROLE(kVector, kExpertScale, expert_scale, "ffn_down_exps.scale")                         \
  ROLE(kVector, kPostDenseNorm, post_dense_norm, "post_ffw_norm_1.weight")                 \
  ROLE(kVector, kPostExpertNorm, post_expert_norm, "post_ffw_norm_2.weight")               \
  ROLE(kMatrix, kLayerInputGate, layer_input_gate, "inp_gate.weight")                      \
  ROLE(kMatrix, kLayerInputOutput, layer_input_output, "proj.weight")                      \
  ROLE(kVector, kLayerInputPostNorm, layer_input_post_norm, "post_norm.weight")            \
  ROLE(kVector, kLayerScale, layer_scale, "layer_output_scale.weight")                     \
  ROLE(kVector, kStreamRouterNorm, stream_router_norm, "altup_router_norm.weight")         \
  ROLE(kVector, kStreamRouter, stream_router, "altup_router.weight")                       \
  ROLE(kVector, kStreamPrediction, stream_prediction, "altup_predict_coef.weight")         \
  ROLE(kVector, kStreamCorrection, stream_correction, "altup_correct_coef.weight")         \
  ROLE(kVector, kStreamScale, stream_scale, "altup_correct_scale.weight")                  \
  ROLE(kMatrix, kBypassDown, bypass_down, "laurel_l.weight")                               \
  ROLE(kMatrix, kBypassUp, bypass_up, "laurel_r.weight")                                   \
  ROLE(kVector, kBypassNorm, bypass_norm, "laurel_post_norm.weight")

#define INLAY_TENSOR_ROLES(ROLE) INLAY_MODEL_ROLES(ROLE) INLAY_LAYER_ROLES(ROLE)

enum class TensorRole : std::uint8_t {
#define INLAY_DETAIL_ROLE(form, role, member, name) role,
  INLAY_TENSOR_ROLES(INLAY_DETAIL_ROLE)
#undef INLAY_DETAIL_ROLE
};

enum class TensorForm : std::uint8_t { kMatrix, kVector };

struct TensorRoleInfo {
  TensorRole role;
  TensorForm form;
  std::string_view name;
  std::string_view identifier;  // the enumerator's
};

#define INLAY_DETAIL_ROLE(form, role, member, name) +1
inline constexpr std::size_t kModelRoles = 0 INLAY_MODEL_ROLES(INLAY_DETAIL_ROLE);
inline constexpr std::size_t kLayerRoles = 0 INLAY_LAYER_ROLES(INLAY_DETAIL_ROLE);
#undef INLAY_DETAIL_ROLE

inline constexpr std::array<TensorRoleInfo, kModelRoles + kLayerRoles> kTensorRoles = {{
#define INLAY_DETAIL_ROLE(form, role, member, name) {TensorRole::role, TensorForm::form, name, #role},
    INLAY_TENSOR_ROLES(INLAY_DETAIL_ROLE)
#undef INLAY_DETAIL_ROLE
}};

constexpr const TensorRoleInfo& Info(TensorRole role) { return kTensorRoles[static_cast<std::size_t>(role)]; }
constexpr bool IsLayerRole(TensorRole role) { return static_cast<std::size_t>(role) >= kModelRoles; }
constexpr bool IsVector(TensorRole role) { return Info(role).form == TensorForm::kVector; }

// One tensor of a model: its role and, for tensors of a layer, the layer.
struct TensorId {
  TensorRole role;
  std::uint32_t layer = 0;
  constexpr bool operator==(const TensorId&) const = default;
};

// A tensor is `count` matrices of [rows, cols]; count > 1 for experts. Vectors have rows = 1.
struct TensorShape {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t count = 1;
  constexpr bool operator==(const TensorShape&) const = default;
};

constexpr TensorShape ShapeOf(const ModelConfig& c, TensorId id) {
  if (c.local.head_dim != 0 && IsLayerRole(id.role) && c.IsLocal(id.layer)) return ShapeOf(c.OfLocalLayers(), id);
  const std::size_t dim = c.dim, experts = c.experts, expert_ffn = c.expert_ffn_dim(), shared_ffn = c.expert.shared_ffn_dim;
  const std::size_t ffn = c.wide_layers.Has(id.layer) ? c.wide_ffn_dim : c.ffn_dim;
  const std::size_t input = c.layer_input_dim, streams = c.streams.count, bypass = c.streams.bypass_rank;
  const bool latent = c.latent.rank != 0, delta = c.state.kind == StateKind::kDelta;
  const std::size_t latent_q_dim = std::size_t{c.heads} * c.latent.head_dim;
  switch (id.role) {
    case TensorRole::kTokenEmbedding:
    case TensorRole::kOutput: return {c.vocab, dim};
    case TensorRole::kPositionEmbedding: return {c.context, dim};
    case TensorRole::kTokenTypes: return {c.token_types, dim};
    case TensorRole::kOutputBias: return {1, c.vocab};
    case TensorRole::kRopeFactors:
    case TensorRole::kLongRopeFactors:
    case TensorRole::kShortRopeFactors: return {1, c.rope_dim / 2};
    case TensorRole::kEmbeddingNorm:
    case TensorRole::kEmbeddingNormBias:
    case TensorRole::kOutputNorm:
    case TensorRole::kOutputNormBias:
    case TensorRole::kAttentionNorm:
    case TensorRole::kAttentionNormBias:
    case TensorRole::kAttentionOutputBias:
    case TensorRole::kPostAttentionNorm:
    case TensorRole::kPostAttentionNormBias:
    case TensorRole::kFfnNorm:
    case TensorRole::kFfnNormBias:
    case TensorRole::kDownBias:
    case TensorRole::kSharedRouter:
    case TensorRole::kPostFfnNorm:
    case TensorRole::kRouterNorm:
    case TensorRole::kExpertNorm:
    case TensorRole::kPostDenseNorm:
    case TensorRole::kPostExpertNorm:
    case TensorRole::kLayerInputPostNorm:
    case TensorRole::kStreamRouterNorm:
    case TensorRole::kStreamScale:
    case TensorRole::kBypassNorm:
    case TensorRole::kPostFfnNormBias: return {1, dim};
    case TensorRole::kHeadDense: return {dim, dim};
    case TensorRole::kHeadDenseBias:
    case TensorRole::kHeadNorm: return {1, dim};
    case TensorRole::kHeadLabels: return {c.head.labels, dim};
    case TensorRole::kHeadLabelBias: return {1, c.head.labels};
    case TensorRole::kHeadFirst: return {c.head.first_dim, dim};
    case TensorRole::kHeadLast: return {c.head.last_dim, c.head.first_dim != 0 ? c.head.first_dim : dim};
    case TensorRole::kLayerInputTable: return {c.vocab, c.layers * input};
    case TensorRole::kLayerInputProjection: return {c.layers * input, dim};
    case TensorRole::kLayerInputNorm: return {1, input};
    case TensorRole::kLayerInputGate: return {input, dim};
    case TensorRole::kLayerInputOutput: return {dim, input};
    case TensorRole::kLayerScale: return {1, 1};
    case TensorRole::kStreamsIn:
    case TensorRole::kStreamsOut: return {dim, dim, streams == 0 ? 0 : streams - 1};
    case TensorRole::kStreamRouter: return {1, dim, streams};
    case TensorRole::kStreamPrediction: return {1, streams, streams * streams};
    case TensorRole::kStreamCorrection: return {1, streams, streams};
    case TensorRole::kBypassDown: return {bypass, dim};
    case TensorRole::kBypassUp: return {dim, bypass};
    case TensorRole::kExpertScale: return {1, experts};
    case TensorRole::kQuery: return {latent ? latent_q_dim : c.q_dim(), dim};
    case TensorRole::kQueryGate: return {c.q_dim(), dim};
    case TensorRole::kKey: return {c.k_dim(), dim};
    case TensorRole::kValue: return {c.v_dim(), dim};
    case TensorRole::kQueryBias: return {1, c.q_dim()};
    case TensorRole::kKeyBias: return {1, c.k_dim()};
    case TensorRole::kValueBias: return {1, c.v_dim()};
    case TensorRole::kQueryNorm: return {1, c.attention.qk_norm == QkNorm::kWidth ? c.q_dim() : c.head_dim};
    case TensorRole::kKeyNorm: return {1, c.attention.qk_norm == QkNorm::kWidth ? c.k_dim() : c.head_dim};
    case TensorRole::kSinks: return {1, c.heads};
    case TensorRole::kAttentionOutput: return {dim, c.mixed_dim()};
    case TensorRole::kLatentQueryDown: return {c.latent.query_rank, dim};
    case TensorRole::kLatentQueryNorm: return {1, c.latent.query_rank};
    case TensorRole::kLatentQueryUp: return {latent_q_dim, c.latent.query_rank};
    case TensorRole::kLatentDown: return {c.head_dim, dim};
    case TensorRole::kLatentNorm: return {1, c.latent.rank};
    case TensorRole::kLatentKeys: return {c.latent.rank, c.latent.plain_dim(c.rope_dim), c.heads};
    case TensorRole::kLatentKeyRows: return {c.latent.plain_dim(c.rope_dim), c.latent.rank, c.heads};
    case TensorRole::kLatentValues: return {c.latent.value_dim, c.latent.rank, c.heads};
    case TensorRole::kStateInput: return {c.state_input_dim(), dim};
    case TensorRole::kStateGate: return {c.state_inner_dim(), dim};
    case TensorRole::kStateStrength: return {c.state.kind == StateKind::kConvolution ? dim : c.state.heads, dim};
    case TensorRole::kStateStep: return {c.state.heads, dim};
    case TensorRole::kStateConvolution: return {1, c.state.kernel, c.state_input_dim()};
    case TensorRole::kStateConvolutionBias: return {1, c.state_input_dim()};
    case TensorRole::kStateStepBias: return {1, c.state.heads};
    case TensorRole::kStateDecay: return delta ? TensorShape{1, c.state.heads} : TensorShape{1, 1, c.state.heads};
    case TensorRole::kStateSkip: return {1, 1, c.state.heads};
    case TensorRole::kStateNorm:
      return delta ? TensorShape{1, c.state.value_dim()}
                   : TensorShape{1, c.state.groups == 0 ? 0 : c.state.inner_dim / c.state.groups, c.state.groups};
    case TensorRole::kStateOutput: return {dim, c.state_inner_dim()};
    case TensorRole::kGate:
    case TensorRole::kUp: return {ffn, dim};
    case TensorRole::kDown: return {dim, ffn};
    case TensorRole::kGateBias:
    case TensorRole::kUpBias: return {1, ffn};
    case TensorRole::kRouter: return {experts, dim};
    case TensorRole::kRouterBias:
    case TensorRole::kSelectionBias: return {1, experts};
    case TensorRole::kExpertGate:
    case TensorRole::kExpertUp: return {expert_ffn, dim, experts};
    case TensorRole::kExpertDown: return {dim, expert_ffn, experts};
    case TensorRole::kExpertGateBias:
    case TensorRole::kExpertUpBias: return {1, expert_ffn, experts};
    case TensorRole::kExpertDownBias: return {1, dim, experts};
    case TensorRole::kSharedGate:
    case TensorRole::kSharedUp: return {shared_ffn, dim};
    case TensorRole::kSharedDown: return {dim, shared_ffn};
  }
  return {};
}

// Whether a model of this configuration has the tensor.
constexpr bool HasRole(const ModelConfig& c, TensorId id) {
  const bool experts = c.HasExperts(id.layer), beside = experts && c.expert.beside_dense;
  const bool dense = (!experts || beside) && c.ffn_dim != 0;
  const bool streams = c.streams.count != 0, shares = c.SharesKeys(id.layer);
  const bool state = c.KeepsState(id.layer), attends = !state, latent = attends && c.latent.rank != 0;
  const bool shared = experts && c.expert.shared_ffn_dim != 0;
  const bool attention_norm = c.HasPreNorm() && !(c.norm.first_identity && id.layer == 0);
  const bool output_norm = c.norm.placement != NormPlacement::kResidual;
  const bool qk_norm = c.attention.qk_norm == QkNorm::kHead || c.attention.qk_norm == QkNorm::kWidth;
  switch (id.role) {
    case TensorRole::kTokenEmbedding: return true;
    case TensorRole::kQuery: return attends && c.latent.query_rank == 0;
    case TensorRole::kKey: return attends && !latent && !shares;
    case TensorRole::kValue: return attends && !latent && !shares && !c.attention.keys_as_values.Has(id.layer);
    case TensorRole::kAttentionOutput: return attends;
    case TensorRole::kQueryGate: return attends && c.attention.output_gate;
    case TensorRole::kLatentQueryDown:
    case TensorRole::kLatentQueryNorm:
    case TensorRole::kLatentQueryUp: return latent && c.latent.query_rank != 0;
    case TensorRole::kLatentDown:
    case TensorRole::kLatentNorm:
    case TensorRole::kLatentValues: return latent;
    case TensorRole::kLatentKeys: return latent && !c.latent.key_rows;
    case TensorRole::kLatentKeyRows: return latent && c.latent.key_rows;
    case TensorRole::kStateInput:
    case TensorRole::kStateGate:
    case TensorRole::kStateConvolution:
    case TensorRole::kStateOutput: return state;
    case TensorRole::kStateStrength: return state && c.state.kind != StateKind::kSpace;
    case TensorRole::kStateStep:
    case TensorRole::kStateStepBias:
    case TensorRole::kStateDecay:
    case TensorRole::kStateNorm: return state && c.state.kind != StateKind::kConvolution;
    case TensorRole::kStateConvolutionBias:
    case TensorRole::kStateSkip: return state && c.state.kind == StateKind::kSpace;
    case TensorRole::kPositionEmbedding: return c.learned_positions;
    case TensorRole::kTokenTypes: return c.token_types != 0;
    case TensorRole::kEmbeddingNorm: return c.norm.embedding;
    case TensorRole::kEmbeddingNormBias: return c.norm.embedding && c.norm.bias;
    case TensorRole::kOutputNorm: return output_norm;
    case TensorRole::kOutputNormBias: return output_norm && c.norm.bias;
    case TensorRole::kOutput: return c.logits && !c.tied_embeddings;
    case TensorRole::kOutputBias: return c.output_bias;
    case TensorRole::kRopeFactors: return c.rope_scaling == RopeScaling::kFactors;
    case TensorRole::kLongRopeFactors:
    case TensorRole::kShortRopeFactors: return c.rope_scaling == RopeScaling::kLongRope;
    case TensorRole::kAttentionNorm: return attention_norm;
    case TensorRole::kAttentionNormBias: return attention_norm && c.norm.bias;
    case TensorRole::kQueryBias: return attends && c.attention.qkv_bias;
    case TensorRole::kKeyBias:
    case TensorRole::kValueBias: return attends && c.attention.qkv_bias && !shares;
    case TensorRole::kQueryNorm: return attends && qk_norm;
    case TensorRole::kKeyNorm: return attends && qk_norm && !shares;
    case TensorRole::kSinks: return attends && c.attention.sinks;
    case TensorRole::kAttentionOutputBias: return attends && c.attention.output_bias;
    case TensorRole::kPostAttentionNorm:
    case TensorRole::kPostFfnNorm: return c.HasPostNorm();
    case TensorRole::kPostAttentionNormBias:
    case TensorRole::kPostFfnNormBias: return c.HasPostNorm() && c.norm.bias;
    case TensorRole::kFfnNorm: return (experts || dense) && c.HasPreNorm();
    case TensorRole::kFfnNormBias: return (experts || dense) && c.HasPreNorm() && c.norm.bias;
    case TensorRole::kGate: return dense && c.gated;
    case TensorRole::kUp:
    case TensorRole::kDown: return dense;
    case TensorRole::kGateBias: return dense && c.gated && c.ffn_bias;
    case TensorRole::kUpBias:
    case TensorRole::kDownBias: return dense && c.ffn_bias;
    case TensorRole::kRouter: return experts;
    case TensorRole::kRouterBias: return experts && c.expert.router_bias;
    case TensorRole::kSelectionBias: return experts && c.expert.selection_bias;
    case TensorRole::kExpertGate: return experts && c.gated;
    case TensorRole::kExpertUp:
    case TensorRole::kExpertDown: return experts;
    case TensorRole::kExpertGateBias: return experts && c.gated && c.expert.bias;
    case TensorRole::kExpertUpBias:
    case TensorRole::kExpertDownBias: return experts && c.expert.bias;
    case TensorRole::kSharedGate: return shared && c.gated;
    case TensorRole::kSharedUp:
    case TensorRole::kSharedDown: return shared;
    case TensorRole::kSharedRouter: return shared && c.expert.shared_gate;
    case TensorRole::kHeadDense: return c.head.dense;
    case TensorRole::kHeadDenseBias: return c.head.dense_bias;
    case TensorRole::kHeadNorm: return c.head.norm;
    case TensorRole::kHeadLabels: return c.head.labels != 0;
    case TensorRole::kHeadLabelBias: return c.head.label_bias;
    case TensorRole::kHeadFirst: return c.head.first_dim != 0;
    case TensorRole::kHeadLast: return c.head.last_dim != 0;
    case TensorRole::kRouterNorm:
    case TensorRole::kExpertNorm:
    case TensorRole::kPostDenseNorm:
    case TensorRole::kPostExpertNorm: return beside;
    case TensorRole::kExpertScale: return experts && c.expert.output_scale;
    case TensorRole::kLayerInputTable:
    case TensorRole::kLayerInputProjection:
    case TensorRole::kLayerInputNorm:
    case TensorRole::kLayerInputGate:
    case TensorRole::kLayerInputOutput:
    case TensorRole::kLayerInputPostNorm: return c.layer_input_dim != 0;
    case TensorRole::kLayerScale: return c.layer_scale;
    case TensorRole::kStreamsIn:
    case TensorRole::kStreamsOut:
    case TensorRole::kStreamRouterNorm:
    case TensorRole::kStreamRouter:
    case TensorRole::kStreamPrediction:
    case TensorRole::kStreamCorrection:
    case TensorRole::kStreamScale:
    case TensorRole::kBypassDown:
    case TensorRole::kBypassUp:
    case TensorRole::kBypassNorm: return streams;
  }
  return false;
}

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
  TextBuffer<96> text;
  if (IsLayerRole(id.role)) text.Append("blk.").Append(id.layer).Append('.');
  text.Append(FileName(c.architecture, Info(id.role).name));
  return text;
}

// A tensor's name in two parts: which layer, if any, and what in it. Nothing when it names no layer below `layers`.
struct ParsedTensorName {
  bool in_layer = false;
  std::uint32_t layer = 0;
  std::string_view rest;
};
constexpr std::optional<ParsedTensorName> SplitTensorName(std::string_view name, std::uint32_t layers) {
  ParsedTensorName parsed;
  parsed.in_layer = name.starts_with("blk.");
  if (parsed.in_layer) {
    name.remove_prefix(4);
    std::size_t digits = 0;
    while (digits < name.size() && digits < 5 && name[digits] >= '0' && name[digits] <= '9') {
      parsed.layer = parsed.layer * 10 + static_cast<std::uint32_t>(name[digits++] - '0');
    }
    const bool leading_zero = digits > 1 && name[0] == '0';
    if (digits == 0 || leading_zero || digits >= name.size() || name[digits] != '.' || parsed.layer >= layers) return {};
    name.remove_prefix(digits + 1);
  }
  parsed.rest = name;
  return parsed;
}

// The tensor that a name in a file means for this configuration; nothing when it is none of the model's.
constexpr std::optional<TensorId> ParseTensorName(const ModelConfig& c, std::string_view name) {
  const std::optional<ParsedTensorName> parsed = SplitTensorName(name, c.layers);
  if (!parsed) return {};
  for (const TensorRoleInfo& info : kTensorRoles) {
    const TensorId id{info.role, parsed->layer};
    if (IsLayerRole(info.role) == parsed->in_layer && HasRole(c, id) && FileName(c.architecture, info.name) == parsed->rest) {
      return id;
    }
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_TENSOR_ROLES_HPP_
