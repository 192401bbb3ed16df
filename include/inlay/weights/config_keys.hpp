// A model's configuration as GGUF metadata: reading it from the keys and tensors of a file, and writing it.
// Apart from weight_source.hpp because it knows keys, not weights.
#ifndef INLAY_WEIGHTS_CONFIG_KEYS_HPP_
#define INLAY_WEIGHTS_CONFIG_KEYS_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "inlay/config/config_fields.hpp"
#include "inlay/config/families.hpp"
#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/text_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/gguf_writer.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {

// A key "ARCHITECTURE.name" whose value is a field as it stands.
struct ConfigKey {
  std::string_view name;
  ConfigField field;
  bool required;
};

#define INLAY_DETAIL_KEY(name, member, required) \
  {name, MakeConfigField<decltype(ModelConfig{}.member)>(#member, offsetof(ModelConfig, member)), required},
inline constexpr ConfigKey kConfigKeys[] = {
    INLAY_DETAIL_KEY("embedding_length", dim, true)
    INLAY_DETAIL_KEY("block_count", layers, true)
    INLAY_DETAIL_KEY("attention.head_count", heads, true)
    INLAY_DETAIL_KEY("attention.head_count_kv", kv_heads, false)
    INLAY_DETAIL_KEY("attention.key_length", head_dim, false)
    INLAY_DETAIL_KEY("attention.value_length", value_dim, false)
    INLAY_DETAIL_KEY("attention.key_length_swa", local.head_dim, false)
    INLAY_DETAIL_KEY("rope.dimension_count_swa", local.rope_dim, false)
    INLAY_DETAIL_KEY("attention.shared_kv_layers", attention.shared_layers, false)
    INLAY_DETAIL_KEY("embedding_length_per_layer_input", layer_input_dim, false)
    INLAY_DETAIL_KEY("altup.num_inputs", streams.count, false)
    INLAY_DETAIL_KEY("feed_forward_length", ffn_dim, true)
    INLAY_DETAIL_KEY("context_length", context, true)
    INLAY_DETAIL_KEY("attention.sliding_window", window, false)
    INLAY_DETAIL_KEY("expert_count", experts, false)
    INLAY_DETAIL_KEY("expert_used_count", experts_per_token, false)
    INLAY_DETAIL_KEY("expert_feed_forward_length", expert.ffn_dim, false)
    INLAY_DETAIL_KEY("expert_shared_feed_forward_length", expert.shared_ffn_dim, false)
    INLAY_DETAIL_KEY("leading_dense_block_count", expert.leading_dense, false)
    INLAY_DETAIL_KEY("interleave_moe_layer_step", expert.step, false)
    INLAY_DETAIL_KEY("moe_every_n_layers", expert.step, false)
    INLAY_DETAIL_KEY("expert_group_count", expert.groups, false)
    INLAY_DETAIL_KEY("expert_group_used_count", expert.groups_used, false)
    INLAY_DETAIL_KEY("expert_weights_scale", expert.scale, false)
    INLAY_DETAIL_KEY("attention.kv_lora_rank", latent.rank, false)
    INLAY_DETAIL_KEY("attention.q_lora_rank", latent.query_rank, false)
    INLAY_DETAIL_KEY("attention.key_length_mla", latent.head_dim, false)
    INLAY_DETAIL_KEY("attention.value_length_mla", latent.value_dim, false)
    INLAY_DETAIL_KEY("shortconv.l_cache", state.kernel, false)
    INLAY_DETAIL_KEY("ssm.conv_kernel", state.kernel, false)
    INLAY_DETAIL_KEY("ssm.inner_size", state.inner_dim, false)
    INLAY_DETAIL_KEY("ssm.time_step_rank", state.heads, false)
    INLAY_DETAIL_KEY("ssm.group_count", state.groups, false)
    INLAY_DETAIL_KEY("ssm.state_size", state.key_dim, false)
    INLAY_DETAIL_KEY("rope.dimension_count", rope_dim, false)
    INLAY_DETAIL_KEY("rope.freq_base", rope_base, false)
    INLAY_DETAIL_KEY("rope.freq_base_swa", rope.local_base, false)
    INLAY_DETAIL_KEY("rope.scaling.original_context_length", rope.original_context, false)
    INLAY_DETAIL_KEY("rope.scaling.attn_factor", rope.attention_factor, false)
    INLAY_DETAIL_KEY("rope.scaling.yarn_beta_fast", rope.beta_fast, false)
    INLAY_DETAIL_KEY("rope.scaling.yarn_beta_slow", rope.beta_slow, false)
    INLAY_DETAIL_KEY("rope.scaling.yarn_log_multiplier", rope.log_multiplier, false)
    INLAY_DETAIL_KEY("attention.scale", attention.scale, false)
    INLAY_DETAIL_KEY("attention.temperature_scale", attention.temperature, false)
    INLAY_DETAIL_KEY("attention.causal", attention.causal, false)
    INLAY_DETAIL_KEY("attn_logit_softcapping", attention.softcap, false)
    INLAY_DETAIL_KEY("final_logit_softcapping", logit_softcap, false)
    INLAY_DETAIL_KEY("logit_scale", logit_divisor, false)
    INLAY_DETAIL_KEY("residual_scale", residual_scale, false)
    INLAY_DETAIL_KEY("embedding_scale", embedding_scale, false)
    INLAY_DETAIL_KEY("use_parallel_residual", parallel_residual, false)
    INLAY_DETAIL_KEY("pooling_type", pooling, false)
};
#undef INLAY_DETAIL_KEY

inline constexpr std::string_view kEpsilonKeys[] = {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"};
inline constexpr std::string_view EpsilonKey(NormKind kind) { return kEpsilonKeys[static_cast<std::size_t>(kind)]; }

// Values of "rope.scaling.type", by RopeScaling; the factors of kFactors are found by their tensor instead.
inline constexpr std::string_view kScalingNames[] = {"none", "linear", "none", "yarn", "longrope"};

// An integer, or an array of as many as there are layers, all equal; with skip_zeros, all but those that are 0.
inline Result<std::uint32_t> UniformUnsigned(const GgufValue& value, bool skip_zeros = false) {
  std::uint64_t number = 0;
  if (value.type == GgufType::kArray) {
    INLAY_ASSIGN_OR_RETURN(const GgufArray array, value.AsArray());
    if (array.count == 0 || (array.element != GgufType::kU32 && array.element != GgufType::kI32)) {
      return FailAt(ErrorCode::kMismatch, value.offset, value.key, "must be an integer or an array of 32-bit integers");
    }
    std::uint32_t first = LoadAs<std::uint32_t>(array.bytes.data());
    for (std::uint64_t i = 1; i < array.count; ++i) {
      const std::uint32_t next = LoadAs<std::uint32_t>(array.bytes.data() + i * 4);
      if (skip_zeros && first == 0) first = next;
      if (next != first && !(skip_zeros && next == 0)) {
        return FailAt(ErrorCode::kUnsupported, value.offset, value.key, "is ", first, " in layer 0 and ", next, " in layer ", i,
                      "; this family is run with the same in all layers");
      }
    }
    number = first;
  } else {
    INLAY_ASSIGN_OR_RETURN(number, value.AsUnsigned());
  }
  if (number > 0xFFFFFFFFu) {
    return FailAt(ErrorCode::kTooLarge, value.offset, value.key, number, " is beyond any model's size");
  }
  return static_cast<std::uint32_t>(number);
}

inline Result<void> ReadField(const GgufValue& value, const ConfigField& field, ModelConfig& config) {
  switch (field.kind) {
    case ConfigFieldKind::kUnsigned: {
      INLAY_ASSIGN_OR_RETURN(const std::uint32_t number, UniformUnsigned(value));
      SetField(config, field, number);
      return {};
    }
    case ConfigFieldKind::kFloat: {
      INLAY_ASSIGN_OR_RETURN(const float number, value.AsFloat());
      SetField(config, field, number);
      return {};
    }
    case ConfigFieldKind::kBool: {
      INLAY_ASSIGN_OR_RETURN(const bool flag, value.AsBool());
      SetField(config, field, flag);
      return {};
    }
    case ConfigFieldKind::kEnum: {
      INLAY_ASSIGN_OR_RETURN(const std::uint64_t number, value.AsUnsigned());
      const std::size_t known = field.enumeration->enumerators.size();
      if (number >= known) {
        return FailAt(ErrorCode::kUnsupported, value.offset, value.key, "is ", number, ", this version knows 0 .. ",
                      known - 1);
      }
      SetField(config, field, static_cast<std::uint8_t>(number));
      return {};
    }
    case ConfigFieldKind::kPattern: break;  // no key is one
  }
  return {};
}

// The layers that `has` names of `layers`, as the shortest pattern; nothing when it does not repeat soon enough.
template <class Has>
constexpr std::optional<LayerPattern> PatternOf(std::uint32_t layers, Has&& has) {
  for (std::uint32_t period = 1; period <= LayerPattern::kMaxPeriod; ++period) {
    LayerPattern pattern{period};
    bool any = false;
    for (std::uint32_t l = 0; l < period && l < layers; ++l) {
      if (has(l)) pattern.Add(l), any = true;
    }
    bool fits = true;
    for (std::uint32_t l = period; l < layers && fits; ++l) fits = pattern.Has(l) == has(l);
    if (fits) return any ? pattern : LayerPattern{};
    if (period >= layers) break;
  }
  return {};
}

// An array with an entry per layer, whose entries a function of bytes tells apart.
inline Result<LayerPattern> ReadPatternOf(const GgufValue& value, std::uint32_t layers, bool zeros) {
  INLAY_ASSIGN_OR_RETURN(const GgufArray array, value.AsArray());
  const std::size_t width = array.element == GgufType::kBool ? 1 : 4;
  if (array.element != GgufType::kBool && array.element != GgufType::kI32 && array.element != GgufType::kU32) {
    return FailAt(ErrorCode::kMismatch, value.offset, value.key, "must be an array of bool or of 32-bit integers");
  }
  if (array.count < layers) {
    return FailAt(ErrorCode::kMismatch, value.offset, value.key, "has ", array.count, " entries for ", layers, " layers");
  }
  const auto has = [&](std::size_t layer) {
    bool zero = true;
    for (std::size_t i = 0; i < width; ++i) zero &= array.bytes[layer * width + i] == std::byte{0};
    return zero == zeros;
  };
  const std::optional<LayerPattern> pattern = PatternOf(layers, has);
  if (!pattern) {
    return FailAt(ErrorCode::kUnsupported, value.offset, value.key, "does not repeat after at most ",
                  std::uint32_t{LayerPattern::kMaxPeriod}, " layers");
  }
  return *pattern;
}

// Layers at the end of a file that predict further tokens. The library does not run them.
inline std::uint32_t PredictingLayers(const GgufFile& file, std::string_view architecture) {
  const auto value = file.Find(TextBuffer<96>(architecture, ".nextn_predict_layers").view());
  if (!value) return 0;
  const Result<std::uint64_t> count = value->AsUnsigned();
  return count && *count < kMaxLayers ? static_cast<std::uint32_t>(*count) : 0;
}

// One architecture's keys of a file.
class KeyReader {
 public:
  KeyReader(const GgufFile& file, std::string_view architecture) : file_(file), architecture_(architecture) {}

  TextBuffer<96> Key(std::string_view name) const { return TextBuffer<96>(architecture_, ".", name); }
  std::optional<GgufValue> Find(std::string_view name) const { return file_.Find(Key(name).view()); }
  bool HasTensor(std::string_view name) const { return file_.FindTensor(name).has_value(); }

  Result<void> ReadKeys(ModelConfig& config) const {
    for (const ConfigKey& key : kConfigKeys) {
      const std::optional<GgufValue> value = Find(key.name);
      if (value && key.name == "attention.head_count_kv" && config.state.kind != StateKind::kNone) {
        // Layers that keep a state have no such heads.
        INLAY_ASSIGN_OR_RETURN(config.kv_heads, UniformUnsigned(*value, true));
      } else if (value && value->type == GgufType::kArray && IsByLayer(key.name)) {
        continue;  // ReadWidths
      } else if (value) {
        INLAY_CHECK_OK(ReadField(*value, key.field, config));
      } else if (key.required && !(config.state.kind == StateKind::kSpace && key.name == "attention.head_count")) {
        return Fail(ErrorCode::kMissing, Key(key.name).view(), "the file has no such key");
      }
    }
    if (const std::uint32_t more = PredictingLayers(file_, architecture_); more < config.layers) config.layers -= more;
    if (const auto epsilon = Find(EpsilonKey(config.norm.kind))) {
      INLAY_ASSIGN_OR_RETURN(config.norm_epsilon, epsilon->AsFloat());
    }
    if (!Find("attention.head_count_kv")) config.kv_heads = config.heads;
    if (!Find("attention.key_length")) config.head_dim = config.heads == 0 ? 0 : config.dim / config.heads;
    if (config.value_dim == config.head_dim) config.value_dim = 0;
    if (!Find("rope.dimension_count")) config.rope_dim = config.head_dim;
    if (const auto shared = Find("expert_shared_count")) {
      INLAY_ASSIGN_OR_RETURN(const std::uint64_t count, shared->AsUnsigned());
      if (count > kMaxExperts || config.expert_ffn_dim() > kMaxDimension) {
        return FailAt(ErrorCode::kTooLarge, shared->offset, shared->key, count, " is beyond any model's size");
      }
      const std::uint64_t width = count * config.expert_ffn_dim();
      config.expert.shared_ffn_dim = static_cast<std::uint32_t>(width > kMaxDimension ? kMaxDimension + 1 : width);
    }
    if (const auto every = Find("moe_every_n_layers"); every && config.expert.step != 2) {
      return FailAt(ErrorCode::kUnsupported, every->offset, every->key, "is ", config.expert.step, ", this version knows 2");
    }
    // A switch of the Granite family: false where a model has no positions at all.
    const bool granite = config.architecture == Architecture::kGranite || config.architecture == Architecture::kGraniteMoe ||
                         config.architecture == Architecture::kGraniteHybrid;
    if (const auto finetuned = Find("rope.scaling.finetuned"); finetuned && granite) {
      INLAY_ASSIGN_OR_RETURN(const bool rotated, finetuned->AsBool());
      if (!rotated) config.rope_dim = 0;
    }
    // Zero means "none" where files have it.
    if (config.residual_scale == 0.0f) config.residual_scale = 1.0f;
    if (config.embedding_scale == 0.0f) config.embedding_scale = 1.0f;
    if (config.expert.scale == 0.0f) config.expert.scale = 1.0f;
    return {};
  }

  // Widths that differ from layer to layer; after the pattern of windows has been read.
  Result<void> ReadWidths(ModelConfig& config) const {
    if (config.state.kind != StateKind::kNone) return {};
    if (const auto heads = Find("attention.head_count_kv"); heads && heads->type == GgufType::kArray) {
      INLAY_ASSIGN_OR_RETURN(const GgufArray array, LayerNumbers(*heads, config));
      for (std::uint32_t l = config.layers; l-- != 0;) {
        const std::uint32_t count = NumberAt(array, l);
        std::uint32_t& of_kind = config.IsLocal(l) ? config.local.kv_heads : config.kv_heads;
        if (of_kind == 0) of_kind = count;
        if (count != of_kind) return NotUniform(*heads, count, l, of_kind, ", among layers that all have a window, or all have none");
      }
      if (config.kv_heads == 0) config.kv_heads = config.local.kv_heads;
    }
    if (const auto widths = Find("feed_forward_length"); widths && widths->type == GgufType::kArray) {
      INLAY_ASSIGN_OR_RETURN(const GgufArray array, LayerNumbers(*widths, config));
      config.ffn_dim = config.layers == 0 ? 0 : NumberAt(array, 0);
      for (std::uint32_t l = 0; l < config.layers; ++l) {
        const std::uint32_t width = NumberAt(array, l);
        if (width == config.ffn_dim) continue;
        if (config.wide_ffn_dim == 0) config.wide_ffn_dim = width;
        if (width != config.wide_ffn_dim) {
          return NotUniform(*widths, width, l, config.ffn_dim, "; this version runs two different widths");
        }
      }
      if (config.wide_ffn_dim != 0) {
        INLAY_ASSIGN_OR_RETURN(config.wide_layers, Pattern(*widths, config.layers, [&](std::uint32_t l) {
                                 return NumberAt(array, l) == config.wide_ffn_dim;
                               }));
      }
    }
    if (const auto values = Find("attention.value_length_swa")) {
      INLAY_ASSIGN_OR_RETURN(const std::uint32_t width, UniformUnsigned(*values));
      if (width != (config.local.head_dim == 0 ? config.head_dim : config.local.head_dim)) {
        return FailAt(ErrorCode::kUnsupported, values->offset, values->key, "is ", width, ", and the keys' width is another");
      }
    }
    // What only one of the keys says holds for all layers.
    if (config.local.head_dim == 0) config.local.head_dim = config.head_dim;
    if (config.local.kv_heads == 0) config.local.kv_heads = config.kv_heads;
    if (!Find("rope.dimension_count_swa")) config.local.rope_dim = std::min(config.rope_dim, config.local.head_dim);
    return {};
  }

  // Which layers cut off their gates: a number of standard deviations per layer, none where it is not above 0.
  Result<void> ReadSparsity(ModelConfig& config) const {
    const auto value = Find("activation_sparsity_scale");
    if (!value || config.sparsity == 0.0f) return {};
    INLAY_ASSIGN_OR_RETURN(const GgufArray array, value->AsArray(GgufType::kF32));
    if (array.count < config.layers) return TooFew(*value, array.count, config.layers);
    config.sparsity = 0.0f;
    for (std::uint32_t l = 0; l < config.layers; ++l) {
      const float deviations = array.at<float>(l);
      if (!(deviations > 0.0f)) continue;
      if (config.sparsity == 0.0f) config.sparsity = deviations;
      if (deviations != config.sparsity) {
        return FailAt(ErrorCode::kUnsupported, value->offset, value->key, "differs between layers in more than whether it is 0");
      }
    }
    INLAY_ASSIGN_OR_RETURN(config.sparse_layers, Pattern(*value, config.layers, [&](std::uint32_t l) { return array.at<float>(l) > 0.0f; }));
    return {};
  }

  // Some ModernBERT files have another activation than the family's own.
  Result<void> ReadActivation(ModelConfig& config) const {
    const auto value = Find("hidden_activation");
    if (!value) return {};
    INLAY_ASSIGN_OR_RETURN(const std::string_view name, value->AsString());
    if (name == "silu") {
      config.activation = Activation::kSilu;
    } else if (name == "gelu" || name == "gelu_new" || name == "gelu_pytorch_tanh") {
      config.activation = Activation::kGelu;
    } else {
      return FailAt(ErrorCode::kUnsupported, value->offset, value->key, "\"", name, "\" is not one of: gelu, silu");
    }
    return {};
  }

  Result<void> ReadRouter(ModelConfig& config) const {
    const auto gating = Find("expert_gating_func");
    if (!gating) return {};
    INLAY_ASSIGN_OR_RETURN(const std::uint64_t function, gating->AsUnsigned());
    bool normalized = config.expert.normalized;
    if (const auto flag = Find("expert_weights_norm")) {
      INLAY_ASSIGN_OR_RETURN(normalized, flag->AsBool());
    }
    switch (function) {
      case 0: return {};  // not said
      // Softmax over all, divided by the sum of the chosen, is softmax over the chosen.
      case 1: config.expert.router = normalized ? Router::kSoftmaxOfChosen : Router::kSoftmaxOfAll; return {};
      case 2:
        config.expert.router = Router::kSigmoid;
        config.expert.normalized = normalized;
        return {};
      case 3: config.expert.router = Router::kSoftmaxOfChosen; return {};
      default:
        return FailAt(ErrorCode::kUnsupported, gating->offset, gating->key, "is ", function,
                      ", this version knows 1 (softmax), 2 (sigmoid) and 3 (softmax of the chosen)");
    }
  }

  Result<void> ReadRopeScaling(ModelConfig& config) const {
    const bool has_factors = HasTensor("rope_freqs.weight"), has_long = HasTensor("rope_factors_long.weight");
    if (const auto factor = Find(Find("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear")) {
      INLAY_ASSIGN_OR_RETURN(config.rope_scale, factor->AsFloat());
      if (config.rope_scale == 0.0f) config.rope_scale = 1.0f;
      config.rope_scaling = config.rope_scale == 1.0f ? RopeScaling::kNone : RopeScaling::kLinear;
    }
    if (const auto type = Find("rope.scaling.type")) {
      INLAY_ASSIGN_OR_RETURN(const std::string_view name, type->AsString());
      if (name == "none") {
        config.rope_scaling = RopeScaling::kNone;
        config.rope_scale = 1.0f;
      } else if (name == "linear") {
        config.rope_scaling = RopeScaling::kLinear;
      } else if (name == "yarn") {
        config.rope_scaling = RopeScaling::kYarn;
      } else if (name == "longrope") {
        if (!has_long) return Fail(ErrorCode::kMissing, "rope_factors_long.weight", "the file has no such tensor");
      } else {
        return FailAt(ErrorCode::kUnsupported, type->offset, type->key, "\"", name,
                      "\" is not one of: none, linear, yarn, longrope");
      }
    }
    if (has_factors || has_long) {
      if (config.rope_scaling != RopeScaling::kNone) {
        return Fail(ErrorCode::kUnsupported, Key("rope.scaling.type").view(),
                    kScalingNames[static_cast<std::size_t>(config.rope_scaling)], " together with ",
                    has_factors ? "rope_freqs.weight" : "rope_factors_long.weight");
      }
      config.rope_scaling = has_factors ? RopeScaling::kFactors : RopeScaling::kLongRope;
    }
    if (!Find("rope.scaling.original_context_length")) config.rope.original_context = config.context;
    return {};
  }

  // Which layers have a window: every n-th has none, or a list.
  Result<void> ReadWindowPattern(ModelConfig& config) const {
    const auto value = Find("attention.sliding_window_pattern");
    if (!value) return {};
    if (value->type != GgufType::kArray) {
      INLAY_ASSIGN_OR_RETURN(const std::uint64_t n, value->AsUnsigned());
      if (n > LayerPattern::kMaxPeriod) {
        return FailAt(ErrorCode::kUnsupported, value->offset, value->key, "is ", n, ", this version knows patterns of at most ",
                      std::uint32_t{LayerPattern::kMaxPeriod});
      }
      const bool first = config.attention.global == LayerPattern::FirstOf(config.attention.global.period);
      const std::uint32_t period = static_cast<std::uint32_t>(n);
      config.attention.global = n == 0 ? LayerPattern{} : first ? LayerPattern::FirstOf(period) : LayerPattern::LastOf(period);
      return {};
    }
    INLAY_ASSIGN_OR_RETURN(config.attention.global, ReadPatternOf(*value, config.layers, true));
    return {};
  }

  // Which layers keep a state: those without key/value heads, every one but each n-th, or a list.
  Result<void> ReadStateLayers(ModelConfig& config) const {
    if (config.state.kind == StateKind::kNone) return {};
    const auto heads = Find("attention.head_count_kv");
    if (heads && heads->type == GgufType::kArray) {
      INLAY_ASSIGN_OR_RETURN(config.state.layers, ReadPatternOf(*heads, config.layers, true));
    }
    if (const auto interval = Find("full_attention_interval")) {
      INLAY_ASSIGN_OR_RETURN(const std::uint64_t n, interval->AsUnsigned());
      if (n > LayerPattern::kMaxPeriod) {
        return FailAt(ErrorCode::kUnsupported, interval->offset, interval->key, "is ", n,
                      ", this version knows patterns of at most ", std::uint32_t{LayerPattern::kMaxPeriod});
      }
      config.state.layers = LayerPattern::AllButLastOf(static_cast<std::uint32_t>(n));
    }
    if (const auto list = Find("attention.recurrent_layers")) {
      INLAY_ASSIGN_OR_RETURN(config.state.layers, ReadPatternOf(*list, config.layers, false));
    }
    return {};
  }

  // What a configuration takes from the presence and shape of tensors instead of keys.
  Result<void> ReadTensors(ModelConfig& config) const {
    const std::optional<GgufTensor> embedding = file_.FindTensor("token_embd.weight");
    if (!embedding) return Fail(ErrorCode::kMissing, "token_embd.weight", "the file has no such tensor");
    if (embedding->n_dims != 2 || embedding->dims[1] > kMaxDimension) {
      return Fail(ErrorCode::kMismatch, "token_embd.weight", "must have two dimensions, [dim, vocab]");
    }
    config.vocab = static_cast<std::uint32_t>(embedding->dims[1]);
    config.tied_embeddings = config.logits && !HasTensor("output.weight");
    config.output_bias |= config.logits && HasTensor("output.bias");
    if (const std::optional<GgufTensor> types = file_.FindTensor("token_types.weight")) {
      config.token_types = static_cast<std::uint32_t>(types->dims[1] > kMaxDimension ? kMaxDimension : types->dims[1]);
    }
    // Families differ in which biases all of their files have; any may have more.
    config.attention.qkv_bias |= HasTensor("blk.0.attn_q.bias") || HasTensor("blk.0.attn_qkv.bias");
    config.attention.output_bias |= HasTensor("blk.0.attn_output.bias");
    config.ffn_bias |= HasTensor("blk.0.ffn_up.bias");
    config.expert.selection_bias |=
        config.experts != 0 && HasTensor(TextBuffer<96>("blk.", config.layers - 1, ".exp_probs_b.bias").view());
    const auto lacks_values = [&](std::uint32_t l) {
      return !config.SharesKeys(l) && !HasTensor(TextBuffer<96>("blk.", l, ".attn_v.weight").view());
    };
    if (config.attention.value_norm && !HasTensor("blk.0.attn_qkv.weight")) {
      config.attention.keys_as_values = PatternOf(config.layers, lacks_values).value_or(LayerPattern{});
    }
    ReadHead(config);
    config.layer_scale |= HasTensor("blk.0.layer_output_scale.weight");
    config.expert.output_scale |=
        config.experts != 0 && HasTensor(TextBuffer<96>("blk.", config.layers - 1, ".ffn_down_exps.scale").view());
    if (const std::optional<GgufTensor> bypass = file_.FindTensor("blk.0.laurel_l.weight"); bypass && config.streams.count != 0) {
      config.streams.bypass_rank = static_cast<std::uint32_t>(std::min<std::uint64_t>(bypass->dims[1], kMaxDimension));
    }
    config.latent.key_rows = config.latent.rank != 0 && !HasTensor("blk.0.attn_k_b.weight");
    config.norm.first_identity = config.norm.embedding && config.HasPreNorm() && !HasTensor("blk.0.attn_norm.weight");
    return {};
  }

 private:
  // Rows of a matrix that a model may have, 0 without.
  std::uint32_t RowsOf(std::string_view name) const {
    const std::optional<GgufTensor> tensor = file_.FindTensor(name);
    return tensor ? static_cast<std::uint32_t>(std::min<std::uint64_t>(tensor->dims[1], kMaxDimension)) : 0;
  }
  void ReadHead(ModelConfig& config) const {
    HeadConfig& head = config.head;
    head.labels = RowsOf("cls.output.weight");
    head.label_bias = HasTensor("cls.output.bias");
    head.dense = HasTensor("cls.weight");
    head.dense_bias = HasTensor("cls.bias");
    head.norm = HasTensor("cls.norm.weight");
    head.first_dim = RowsOf("dense_2.weight");
    head.last_dim = RowsOf("dense_3.weight");
  }

  static bool IsByLayer(std::string_view key) { return key == "attention.head_count_kv" || key == "feed_forward_length"; }

  // An array of at least as many integers as there are layers.
  Result<GgufArray> LayerNumbers(const GgufValue& value, const ModelConfig& config) const {
    INLAY_ASSIGN_OR_RETURN(const GgufArray array, value.AsArray());
    if (array.element != GgufType::kU32 && array.element != GgufType::kI32) {
      return FailAt(ErrorCode::kMismatch, value.offset, value.key, "must be an integer or an array of 32-bit integers");
    }
    if (array.count < config.layers) return TooFew(value, array.count, config.layers);
    return array;
  }
  // Of an array of 32-bit integers, signed or not; a negative one is beyond every limit.
  static std::uint32_t NumberAt(const GgufArray& array, std::size_t index) {
    return LoadAs<std::uint32_t>(array.bytes.data() + index * sizeof(std::uint32_t));
  }
  static Error TooFew(const GgufValue& value, std::uint64_t count, std::uint32_t layers) {
    return FailAt(ErrorCode::kMismatch, value.offset, value.key, "has ", count, " entries for ", layers, " layers");
  }
  static Error NotUniform(const GgufValue& value, std::uint32_t number, std::uint32_t layer, std::uint32_t other,
                          std::string_view where) {
    return FailAt(ErrorCode::kUnsupported, value.offset, value.key, "is ", number, " in layer ", layer, " and ", other,
                  " in another", where);
  }
  template <class Has>
  static Result<LayerPattern> Pattern(const GgufValue& value, std::uint32_t layers, Has&& has) {
    const std::optional<LayerPattern> pattern = PatternOf(layers, has);
    if (pattern) return *pattern;
    return FailAt(ErrorCode::kUnsupported, value.offset, value.key, "does not repeat after at most ",
                  std::uint32_t{LayerPattern::kMaxPeriod}, " layers");
  }

  const GgufFile& file_;
  std::string_view architecture_;
};

// One way to say each thing: fields that have no effect get their default, so that equal models have equal configurations.
inline void Canonicalize(ModelConfig& c) {
  const ModelConfig defaults;
  const bool extended = c.rope_scaling == RopeScaling::kYarn || c.rope_scaling == RopeScaling::kLongRope;
  if (!extended) c.rope.original_context = 0;
  if (c.rope_scaling != RopeScaling::kYarn) {
    c.rope.beta_fast = defaults.rope.beta_fast;
    c.rope.beta_slow = defaults.rope.beta_slow;
    c.rope.log_multiplier = 0.0f;
  }
  if (c.window == 0) {
    c.attention.global = {};
    c.rope.local_base = 0.0f;
    c.attention.window_kind = WindowKind::kSliding;
  }
  if (c.attention.temperature == 0.0f) {
    c.attention.temperature_length = 0;
    c.attention.temperature_offset = 0.0f;
    c.attention.temperature_unrotated = false;
  }
  if (c.window == 0 || (c.local.head_dim == c.head_dim && c.local.kv_heads == c.kv_heads && c.local.rope_dim == c.rope_dim)) {
    c.local = {};
  }
  if (c.sparse_layers.period == 0) c.sparsity = 0.0f;
  if (c.experts == 0) c.expert = {};
  if (c.expert.ffn_dim == c.ffn_dim) c.expert.ffn_dim = 0;
  if (c.latent.rank == 0) c.latent = {};
  if (c.head.labels == 0) c.head.softmax = false;
  if (!c.head.dense) c.head.gelu = false;
  if (!c.HasScores()) c.head.pooling = HeadConfig{}.pooling;
  if (!c.HasStates()) c.state = {};
}

}  // namespace detail

// Reads and validates the hyperparameters of a GGUF file whose tensors are stored one by one. Errors name the key.
// kUnsupported: another architecture, or a feature of a known one that the library does not run (named), so that no file
// is run wrongly.
inline Result<ModelConfig> ReadConfig(const GgufFile& file) {
  INLAY_ASSIGN_OR_RETURN(const std::string_view architecture, file.GetString("general.architecture"));
  const Family* family = FindFamily(architecture);
  if (family == nullptr) {
    return Fail(ErrorCode::kUnsupported, "general.architecture", "\"", architecture, "\" is not one of the ", kFamilies.size(),
                " architectures that this version runs (README.md lists them)");
  }
  const detail::KeyReader reader(file, architecture);
  ModelConfig config = family->features;
  INLAY_CHECK_OK(reader.ReadKeys(config));
  INLAY_CHECK_OK(reader.ReadActivation(config));
  INLAY_CHECK_OK(reader.ReadRouter(config));
  INLAY_CHECK_OK(reader.ReadRopeScaling(config));
  INLAY_CHECK_OK(reader.ReadWindowPattern(config));
  INLAY_CHECK_OK(reader.ReadWidths(config));
  INLAY_CHECK_OK(reader.ReadSparsity(config));
  INLAY_CHECK_OK(reader.ReadStateLayers(config));
  INLAY_CHECK_OK(reader.ReadTensors(config));
  if (family->derive != nullptr) family->derive(config);
  detail::Canonicalize(config);
  INLAY_CHECK_OK(Validate(config));
  return config;
}

// Calls put(key, value) for the metadata that makes ReadConfig return this configuration, given its tensors.
template <class Put>
Result<void> ForConfigMetadata(const ModelConfig& c, Put&& put) {
  const Family& family = FamilyOf(c.architecture);
  const auto key = [&](std::string_view name) { return TextBuffer<96>(family.name(), ".", name); };
  INLAY_CHECK_OK(put("general.architecture", family.name()));
  INLAY_CHECK_OK(put(key("vocab_size").view(), c.vocab));
  INLAY_CHECK_OK(put(key(detail::EpsilonKey(c.norm.kind)).view(), c.norm_epsilon));
  // What a file without the keys would be read as.
  ModelConfig unsaid = family.features;
  unsaid.rope.original_context = 0;
  if (family.derive != nullptr) {
    ModelConfig derived = c;
    derived.embedding_scale = 1.0f;
    derived.attention.scale = 0.0f;
    derived.expert.shared_ffn_dim = 0;
    family.derive(derived);
    unsaid.embedding_scale = derived.embedding_scale;
    unsaid.attention.scale = derived.attention.scale;
    unsaid.expert.shared_ffn_dim = derived.expert.shared_ffn_dim;
  }
  ModelConfig said = c;
  if (said.value_dim == 0) said.value_dim = said.head_dim;
  // Numbers of each layer, where two kinds of layers differ.
  std::array<std::uint32_t, kMaxLayers> numbers{};
  const auto by_layer = [&](std::string_view name, auto&& number) {
    for (std::uint32_t l = 0; l < c.layers && l < numbers.size(); ++l) numbers[l] = number(l);
    return put(key(name).view(), std::span<const std::uint32_t>(numbers.data(), c.layers));
  };
  const std::string_view other_kernel = c.state.kind == StateKind::kConvolution ? "ssm.conv_kernel" : "shortconv.l_cache";
  for (const detail::ConfigKey& entry : detail::kConfigKeys) {
    const bool dimension = entry.field.name == "kv_heads" || entry.field.name == "head_dim" ||
                           entry.field.name == "value_dim" || entry.field.name == "rope_dim" || entry.field.name == "rope_base";
    if (!entry.required && !dimension && SameField(said, unsaid, entry.field)) continue;
    if (entry.name == other_kernel) continue;
    if (entry.field.name == "expert.step" &&
        (entry.name == "moe_every_n_layers") != (c.architecture == Architecture::kNomicBertMoe)) {
      continue;
    }
    if (entry.field.name == "kv_heads" && c.local.head_dim != 0) {
      INLAY_CHECK_OK(by_layer(entry.name, [&](std::size_t l) { return c.IsLocal(l) ? c.local.kv_heads : c.kv_heads; }));
      continue;
    }
    if (entry.field.name == "ffn_dim" && c.wide_ffn_dim != 0) {
      INLAY_CHECK_OK(by_layer(entry.name, [&](std::size_t l) { return c.wide_layers.Has(l) ? c.wide_ffn_dim : c.ffn_dim; }));
      continue;
    }
    const TextBuffer<96> name = key(entry.name);
    switch (entry.field.kind) {
      case ConfigFieldKind::kUnsigned:
        INLAY_CHECK_OK(put(name.view(), GetField<std::uint32_t>(said, entry.field)));
        break;
      case ConfigFieldKind::kFloat: INLAY_CHECK_OK(put(name.view(), GetField<float>(said, entry.field))); break;
      case ConfigFieldKind::kBool: INLAY_CHECK_OK(put(name.view(), GetField<bool>(said, entry.field))); break;
      case ConfigFieldKind::kEnum:
        INLAY_CHECK_OK(put(name.view(), std::uint32_t{GetField<std::uint8_t>(said, entry.field)}));
        break;
      case ConfigFieldKind::kPattern: break;
    }
  }
  if (c.rope_scaling == RopeScaling::kLinear || c.rope_scaling == RopeScaling::kYarn) {
    INLAY_CHECK_OK(put(key("rope.scaling.type").view(), detail::kScalingNames[static_cast<std::size_t>(c.rope_scaling)]));
    INLAY_CHECK_OK(put(key("rope.scaling.factor").view(), c.rope_scale));
  }
  if (c.window != 0 && c.attention.global != family.features.attention.global) {
    const std::uint32_t period = c.attention.global.period;
    const bool listed = family.features.attention.global.period == 0;
    const bool first = family.features.attention.global == LayerPattern::FirstOf(family.features.attention.global.period);
    if (listed || (period != 0 && c.attention.global != (first ? LayerPattern::FirstOf(period) : LayerPattern::LastOf(period)))) {
      std::array<bool, kMaxLayers> local{};
      for (std::size_t l = 0; l < c.layers && l < local.size(); ++l) local[l] = c.IsLocal(l);
      INLAY_CHECK_OK(put(key("attention.sliding_window_pattern").view(), std::span<const bool>(local.data(), c.layers)));
    } else {
      INLAY_CHECK_OK(put(key("attention.sliding_window_pattern").view(), period));
    }
  }
  if (family.features.sparsity != 0.0f) {
    std::array<float, kMaxLayers> deviations{};
    for (std::size_t l = 0; l < c.layers && l < deviations.size(); ++l) deviations[l] = c.sparse_layers.Has(l) ? c.sparsity : 0.0f;
    INLAY_CHECK_OK(put(key("activation_sparsity_scale").view(), std::span<const float>(deviations.data(), c.layers)));
  }
  if (c.activation != family.features.activation) {
    if (c.activation != Activation::kSilu && c.activation != Activation::kGelu) {
      return Fail(ErrorCode::kUnsupported, "activation", "is none that a ", family.name(), " file can name");
    }
    INLAY_CHECK_OK(put(key("hidden_activation").view(), std::string_view(c.activation == Activation::kSilu ? "silu" : "gelu")));
  }
  if (c.HasStates() && c.state.layers != family.features.state.layers && c.architecture != Architecture::kMamba2) {
    std::array<bool, kMaxLayers> keeps{};
    for (std::size_t l = 0; l < c.layers && l < keeps.size(); ++l) keeps[l] = c.KeepsState(l);
    INLAY_CHECK_OK(put(key("attention.recurrent_layers").view(), std::span<const bool>(keeps.data(), c.layers)));
  }
  const ExpertConfig& usual = family.features.expert;
  if (c.experts != 0 && (c.expert.router != usual.router || c.expert.normalized != usual.normalized)) {
    const bool sigmoid = c.expert.router == Router::kSigmoid;
    INLAY_CHECK_OK(put(key("expert_gating_func").view(), std::uint32_t{sigmoid ? 2u : 1u}));
    INLAY_CHECK_OK(put(key("expert_weights_norm").view(),
                       sigmoid ? c.expert.normalized : c.expert.router == Router::kSoftmaxOfChosen));
  }
  return {};
}

// The hyperparameters as GGUF metadata, for files made from something else than GGUF: ConfigMetadataCount values, the
// model's name among them.
inline std::size_t ConfigMetadataCount(const ModelConfig& config) {
  std::size_t count = 1;
  const Result<void> counted = ForConfigMetadata(config, [&](std::string_view, auto) -> Result<void> {
    ++count;
    return {};
  });
  return counted ? count : 0;
}
inline Result<void> PutConfig(const ModelConfig& config, std::string_view name, GgufWriter& writer) {
  INLAY_CHECK_OK(writer.Put("general.name", name));
  return ForConfigMetadata(config, [&]<class T>(std::string_view key, T value) -> Result<void> {
    if constexpr (std::is_same_v<T, std::span<const bool>> || std::is_same_v<T, std::span<const float>> ||
                  std::is_same_v<T, std::span<const std::uint32_t>>) {
      return writer.PutArray(key, value);
    } else {
      return writer.Put(key, value);
    }
  });
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_CONFIG_KEYS_HPP_
