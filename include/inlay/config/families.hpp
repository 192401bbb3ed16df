// Families: what the models of one GGUF architecture have in common, and where their files differ from the usual names.
// A new family is an entry here, and new code in layers/ only for what no other family does.
// Sources: each publisher's modelling code and config.json; the names and defaults are those of GGUF files in circulation.
#ifndef INLAY_CONFIG_FAMILIES_HPP_
#define INLAY_CONFIG_FAMILIES_HPP_

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// A tensor that a family's files call by another name than the usual one; without "blk.N.".
struct TensorRename {
  std::string_view usual;
  std::string_view name;
};

struct Family {
  ModelConfig features;  // dimensions and constants that a file's keys give are defaults only
  std::span<const TensorRename> renames{};
  // What follows from a file's numbers; called when they have been read. nullptr: nothing.
  void (*derive)(ModelConfig&) = nullptr;

  constexpr std::string_view name() const { return Name(features.architecture); }
};

namespace detail {

inline constexpr NormConfig kLayerNorm{.kind = NormKind::kLayer, .bias = true};

// BERT's blocks: LayerNorm after each sum, every token sees every other, embeddings instead of logits.
inline constexpr NormConfig kBertNorm{.kind = NormKind::kLayer, .placement = NormPlacement::kResidual, .bias = true,
                                      .embedding = true};
inline constexpr TensorRename kBertNames[] = {
    {"post_attention_norm.weight", "attn_output_norm.weight"}, {"post_attention_norm.bias", "attn_output_norm.bias"},
    {"post_ffw_norm.weight", "layer_output_norm.weight"},      {"post_ffw_norm.bias", "layer_output_norm.bias"},
};

// Only the norm before the feed-forward network; in a pre-norm model "after attention" is the same place.
inline constexpr TensorRename kPostAttentionIsFfnNorm[] = {{"ffn_norm.weight", "post_attention_norm.weight"}};

// LFM2's convolutions, and its name of the last norm.
inline constexpr TensorRename kLfm2Names[] = {
    {"output_norm.weight", "token_embd_norm.weight"},
    {"ssm_conv1d.weight", "shortconv.conv.weight"},
    {"ssm_out.weight", "shortconv.out_proj.weight"},
};
inline constexpr StateConfig kLfm2State{.kind = StateKind::kConvolution};

// Qwen3-Next and Qwen 3.5: three layers of gated DeltaNet, then one that attends, with gated results.
inline constexpr StateConfig kDeltaState{.layers = LayerPattern::AllButLastOf(4), .kind = StateKind::kDelta};
inline constexpr StateConfig kTiledDeltaState{.layers = LayerPattern::AllButLastOf(4), .kind = StateKind::kDelta,
                                              .tiled_groups = true};
inline constexpr AttentionConfig kGatedAttention{.qk_norm = QkNorm::kHead, .output_gate = true};

// The low-rank form of keys and values in its two spellings (with and without absorbed matrices) becomes one, and the
// scale takes in YaRN's correction: (1 + m ln scale)^2 with the multiplier m of the file, 0.1 when it has none. A model
// with a multiplier does not also magnify what is rotated (log_multiplier 1 says that).
inline void DeepSeekLatents(ModelConfig& c) {
  if (c.latent.rank == 0) return;
  if (c.latent.head_dim == 0) c.latent.head_dim = c.head_dim;
  if (c.latent.value_dim == 0) c.latent.value_dim = static_cast<std::uint32_t>(c.value_width());
  c.kv_heads = 1;
  c.head_dim = c.latent.rank + c.rope_dim;
  c.value_dim = c.latent.rank;
  if (c.attention.scale != 0.0f || c.latent.head_dim == 0) return;
  double magnitude = static_cast<double>(c.rope.attention_factor);
  if (c.rope_scaling == RopeScaling::kYarn && c.rope_scale > 1.0f) {
    const double multiplier = c.rope.log_multiplier == 0.0f ? 0.1 : static_cast<double>(c.rope.log_multiplier);
    magnitude *= 1.0 + multiplier * std::log(static_cast<double>(c.rope_scale));
    if (c.rope.log_multiplier != 0.0f) c.rope.log_multiplier = 1.0f;
  }
  c.attention.scale = static_cast<float>(magnitude * magnitude / std::sqrt(static_cast<double>(c.latent.head_dim)));
}

// Files of models that never attend give no heads.
inline void NoAttention(ModelConfig& c) {
  c.state.layers = LayerPattern::All();
  c.heads = c.kv_heads = 1;
  c.head_dim = 2;
  c.value_dim = c.rope_dim = 0;
}

inline void NoRotation(ModelConfig& c) { c.rope_dim = 0; }
inline void GemmaScale(ModelConfig& c) { c.embedding_scale = std::sqrt(static_cast<float>(c.dim)); }
// The 27B models scale by the width per head instead of the head's width (Gemma's config.py, query_pre_attn_scalar).
inline void GemmaScales(ModelConfig& c, std::uint32_t layers_of_27b) {
  GemmaScale(c);
  if (c.layers == layers_of_27b && c.heads != 0) c.attention.scale = 1.0f / std::sqrt(static_cast<float>(c.dim / c.heads));
}


// A number of layers that a file need not say.
inline constexpr std::uint32_t kUnsaid = 0xFFFFFFFFu;

// Where a file does not say otherwise, the first ten layers cut off their gates and all from the twentieth on share keys.
inline void Gemma3nLayers(ModelConfig& c) {
  GemmaScale(c);
  if (c.attention.shared_layers == kUnsaid) c.attention.shared_layers = c.layers > 20 ? c.layers - 20 : 0;
  if (c.sparse_layers.period != 0 || c.sparsity == 0.0f || c.layers > LayerPattern::kMaxPeriod) return;
  if (c.layers <= 10) {
    c.sparse_layers = LayerPattern::All();
    return;
  }
  c.sparse_layers.period = c.layers;
  for (std::uint32_t l = 0; l < 10; ++l) c.sparse_layers.Add(l);
}

}  // namespace detail

inline constexpr std::array kFamilies = {
    Family{.features = {.architecture = Architecture::kLlama}},
    // Ministral 3: YaRN, and queries that grow beyond the original context.
    Family{.features = {.architecture = Architecture::kMistral3},
           .derive = [](ModelConfig& c) { c.attention.temperature_length = c.rope.original_context; }},
    Family{.features = {.architecture = Architecture::kLlama4,
                        .window = 8192,
                        .rope = {.unrotated = LayerPattern::LastOf(4)},
                        .attention = {.global = LayerPattern::LastOf(4),
                                      .temperature = 0.1f,
                                      .temperature_offset = 1.0f,
                                      .temperature_length = 8192,
                                      .temperature_unrotated = true,
                                      .qk_norm = QkNorm::kUnweighted,
                                      .window_kind = WindowKind::kChunked},
                        .expert = {.router = Router::kSigmoid, .scales_input = true}},
           .derive = [](ModelConfig& c) {
             c.expert.shared_ffn_dim = static_cast<std::uint32_t>(c.expert_ffn_dim());
             if (c.experts == 128) c.attention.qk_norm = QkNorm::kNone;  // Maverick
             // All published models have chunks of 8192, whatever their files say.
             if (c.window != 0) c.window = 8192;
           }},
    Family{.features = {.architecture = Architecture::kQwen2,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = {.qkv_bias = true}}},
    Family{.features = {.architecture = Architecture::kQwen3,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = {.qk_norm = QkNorm::kHead},
                        .head = {.softmax = true, .pooling = Pooling::kLast}}},
    Family{.features = {.architecture = Architecture::kQwen3Moe,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = {.qk_norm = QkNorm::kHead}}},
    Family{.features = {.architecture = Architecture::kPhi3, .rope = {.style = RopeStyle::kHalves}}},
    Family{.features = {.architecture = Architecture::kGemma,
                        .norm_epsilon = 1e-6f,
                        .rope = {.style = RopeStyle::kHalves},
                        .activation = Activation::kGelu},
           .derive = detail::GemmaScale},
    Family{.features = {.architecture = Architecture::kGemma2,
                        .norm_epsilon = 1e-6f,
                        .window = 4096,
                        .rope = {.style = RopeStyle::kHalves},
                        .norm = {.placement = NormPlacement::kSandwich},
                        .attention = {.global = LayerPattern::LastOf(2), .softcap = 50.0f},
                        .activation = Activation::kGelu,
                        .logit_softcap = 30.0f},
           .derive = [](ModelConfig& c) { detail::GemmaScales(c, 46); }},
    Family{.features = {.architecture = Architecture::kGemma3,
                        .norm_epsilon = 1e-6f,
                        .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                        .norm = {.placement = NormPlacement::kSandwich},
                        .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead},
                        .activation = Activation::kGelu},
           .derive = [](ModelConfig& c) { detail::GemmaScales(c, 62); }},
    // Gemma 3n: four residual streams, inputs of each layer's own, and no keys and values in the last layers.
    Family{.features = {.architecture = Architecture::kGemma3n,
                        .norm_epsilon = 1e-6f,
                        .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                        .norm = {.placement = NormPlacement::kSandwich},
                        .attention = {.global = LayerPattern::LastOf(5),
                                      .scale = 1.0f,
                                      .shared_layers = detail::kUnsaid,
                                      .qk_norm = QkNorm::kHead,
                                      .value_norm = true},
                        .streams = {.count = 4},
                        .layer_input_dim = 256,
                        .sparsity = 1.6448533535f,  // of a normal distribution, one value in 20 is beyond that
                        .activation = Activation::kGelu,
                        .logit_softcap = 30.0f},
           .derive = detail::Gemma3nLayers},
    Family{.features = {.architecture = Architecture::kGemma4,
                        .norm_epsilon = 1e-6f,
                        .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                        .norm = {.placement = NormPlacement::kSandwich},
                        .attention = {.scale = 1.0f, .qk_norm = QkNorm::kHead, .value_norm = true},
                        .expert = {.beside_dense = true},
                        .activation = Activation::kGelu,
                        .logit_softcap = 30.0f},
           .derive = detail::GemmaScale},
    Family{.features = {.architecture = Architecture::kSmolLm3, .rope = {.unrotated = LayerPattern::LastOf(4)}}},
    // OLMo 3 is OLMo 2 with windows; only layers without one have their positions scaled.
    Family{.features = {.architecture = Architecture::kOlmo2,
                        .rope = {.style = RopeStyle::kHalves},
                        .norm = {.placement = NormPlacement::kPost},
                        .attention = {.global = LayerPattern::LastOf(4), .qk_norm = QkNorm::kWidth}},
           .derive = [](ModelConfig& c) {
             if (c.window != 0 && c.rope.local_base == 0.0f && c.rope_scaling != RopeScaling::kNone) {
               c.rope.local_base = c.rope_base;
             }
           }},
    Family{.features = {.architecture = Architecture::kGranite}},
    Family{.features = {.architecture = Architecture::kGraniteMoe}},
    Family{.features = {.architecture = Architecture::kGpt2,
                        .norm = detail::kLayerNorm,
                        .attention = {.qkv_bias = true, .output_bias = true},
                        .activation = Activation::kGelu,
                        .gated = false,
                        .ffn_bias = true,
                        .learned_positions = true},
           .derive = detail::NoRotation},
    Family{.features = {.architecture = Architecture::kGptNeoX,
                        .rope = {.style = RopeStyle::kHalves},
                        .norm = detail::kLayerNorm,
                        .attention = {.qkv_bias = true, .output_bias = true},
                        .activation = Activation::kGelu,
                        .gated = false,
                        .ffn_bias = true,
                        .parallel_residual = true}},
    Family{.features = {.architecture = Architecture::kGptOss,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = {.global = LayerPattern::LastOf(2),
                                      .qkv_bias = true,
                                      .output_bias = true,
                                      .sinks = true},
                        .expert = {.router_bias = true, .bias = true},
                        .activation = Activation::kClampedSilu},
           .renames = detail::kPostAttentionIsFfnNorm},
    Family{.features = {.architecture = Architecture::kBert,
                        .norm_epsilon = 1e-12f,
                        .norm = detail::kBertNorm,
                        .attention = {.causal = false},
                        .activation = Activation::kGelu,
                        .gated = false,
                        .learned_positions = true,
                        .logits = false},
           .renames = detail::kBertNames,
           .derive = detail::NoRotation},
    Family{.features = {.architecture = Architecture::kNomicBert,
                        .norm_epsilon = 1e-12f,
                        .rope = {.style = RopeStyle::kHalves},
                        .norm = detail::kBertNorm,
                        .attention = {.causal = false},
                        .logits = false},
           .renames = detail::kBertNames},
    Family{.features = {.architecture = Architecture::kNomicBertMoe,
                        .norm_epsilon = 1e-12f,
                        .rope = {.style = RopeStyle::kHalves},
                        .norm = detail::kBertNorm,
                        .attention = {.causal = false},
                        .expert = {.router = Router::kSoftmaxOfAll},
                        .activation = Activation::kGelu,
                        .gated = false,
                        .logits = false},
           .renames = detail::kBertNames},
    Family{.features = {.architecture = Architecture::kModernBert,
                        .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                        .norm = {.kind = NormKind::kLayer, .embedding = true},
                        .attention = {.global = LayerPattern::FirstOf(3),
                                      .window_kind = WindowKind::kSymmetric,
                                      .causal = false},
                        .activation = Activation::kGelu,
                        .logits = false,
                        .head = {.gelu = true, .pooling = Pooling::kMean}}},
    Family{.features = {.architecture = Architecture::kGemmaEmbedding,
                        .norm_epsilon = 1e-6f,
                        .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                        .norm = {.placement = NormPlacement::kSandwich},
                        .attention = {.global = LayerPattern::LastOf(6),
                                      .qk_norm = QkNorm::kHead,
                                      .window_kind = WindowKind::kSymmetric,
                                      .causal = false},
                        .activation = Activation::kGelu,
                        .logits = false},
           .derive = detail::GemmaScale},
    Family{.features = {.architecture = Architecture::kLfm2,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = {.qk_norm = QkNorm::kHead},
                        .state = detail::kLfm2State},
           .renames = detail::kLfm2Names},
    Family{.features = {.architecture = Architecture::kLfm2Moe,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = {.qk_norm = QkNorm::kHead},
                        .expert = {.router = Router::kSigmoid, .normalized = true},
                        .state = detail::kLfm2State},
           .renames = detail::kLfm2Names},
    Family{.features = {.architecture = Architecture::kDeepSeek2,
                        .norm_epsilon = 1e-6f,
                        .expert = {.router = Router::kSoftmaxOfAll}},
           .derive = detail::DeepSeekLatents},
    Family{.features = {.architecture = Architecture::kQwen3Next,
                        .norm_epsilon = 1e-6f,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = detail::kGatedAttention,
                        .expert = {.shared_gate = true},
                        .state = detail::kDeltaState},
           .renames = detail::kPostAttentionIsFfnNorm},
    Family{.features = {.architecture = Architecture::kQwen35,
                        .norm_epsilon = 1e-6f,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = detail::kGatedAttention,
                        .state = detail::kTiledDeltaState},
           .renames = detail::kPostAttentionIsFfnNorm},
    Family{.features = {.architecture = Architecture::kQwen35Moe,
                        .norm_epsilon = 1e-6f,
                        .rope = {.style = RopeStyle::kHalves},
                        .attention = detail::kGatedAttention,
                        .expert = {.shared_gate = true},
                        .state = detail::kTiledDeltaState},
           .renames = detail::kPostAttentionIsFfnNorm},
    Family{.features = {.architecture = Architecture::kGraniteHybrid, .state = {.kind = StateKind::kSpace}}},
    Family{.features = {.architecture = Architecture::kMamba2, .state = {.kind = StateKind::kSpace}},
           .derive = detail::NoAttention},
};

// Every architecture has its family, in the order of the enumerators.
constexpr const Family& FamilyOf(Architecture architecture) { return kFamilies[static_cast<std::size_t>(architecture)]; }

namespace detail {
// Apart from kFamilies, so that a program that only names tensors, in errors, does not hold what families are.
inline constexpr auto kRenamesOf = [] {
  std::array<std::span<const TensorRename>, kFamilies.size()> renames;
  for (std::size_t i = 0; i < renames.size(); ++i) renames[i] = kFamilies[i].renames;
  return renames;
}();
}  // namespace detail

// What files of a family call a tensor that is usually called `usual`.
constexpr std::string_view FileName(Architecture architecture, std::string_view usual) {
  for (const TensorRename& rename : detail::kRenamesOf[static_cast<std::size_t>(architecture)]) {
    if (rename.usual == usual) return rename.name;
  }
  return usual;
}
static_assert([] {
  std::size_t count = 0;
#define INLAY_DETAIL_FAMILY(enumerator, name) \
  if (FamilyOf(Architecture::enumerator).features.architecture != Architecture::enumerator) return false; \
  ++count;
  INLAY_ARCHITECTURES(INLAY_DETAIL_FAMILY)
#undef INLAY_DETAIL_FAMILY
  return count == kFamilies.size();
}());

// nullptr when no family has that name.
constexpr const Family* FindFamily(std::string_view name) {
  for (const Family& family : kFamilies) {
    if (family.name() == name) return &family;
  }
  return nullptr;
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_FAMILIES_HPP_
