// The published shapes of well-known models, for compile-time specialisation and for synthetic benchmark files.
// Sources: each model's config.json on its publisher's page; stories*: the llama2.c checkpoints' headers.
#ifndef INLAY_CONFIG_KNOWN_MODELS_HPP_
#define INLAY_CONFIG_KNOWN_MODELS_HPP_

#include <array>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// The model of this repository, examples/tiny/inlay-tiny.gguf.
inline constexpr ModelConfig kInlayTiny{.dim = 128, .layers = 6, .heads = 4, .kv_heads = 2, .head_dim = 32,
                                        .ffn_dim = 384, .vocab = 1024, .context = 512, .rope_dim = 32,
                                        .tied_embeddings = true};
inline constexpr ModelConfig kStories260K{.dim = 64, .layers = 5, .heads = 8, .kv_heads = 4, .head_dim = 8,
                                          .ffn_dim = 172, .vocab = 512, .context = 512, .rope_dim = 8,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kStories15M{.dim = 288, .layers = 6, .heads = 6, .kv_heads = 6, .head_dim = 48,
                                         .ffn_dim = 768, .vocab = 32000, .context = 256, .rope_dim = 48,
                                         .tied_embeddings = true};
inline constexpr ModelConfig kStories42M{.dim = 512, .layers = 8, .heads = 8, .kv_heads = 8, .head_dim = 64,
                                         .ffn_dim = 1376, .vocab = 32000, .context = 1024, .rope_dim = 64,
                                         .tied_embeddings = true};
inline constexpr ModelConfig kStories110M{.dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
                                          .ffn_dim = 2048, .vocab = 32000, .context = 1024, .rope_dim = 64,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kTinyLlama1_1B{.dim = 2048, .layers = 22, .heads = 32, .kv_heads = 4, .head_dim = 64,
                                            .ffn_dim = 5632, .vocab = 32000, .context = 2048, .rope_dim = 64};
inline constexpr ModelConfig kLlama2_7B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 32, .head_dim = 128,
                                        .ffn_dim = 11008, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama2_13B{.dim = 5120, .layers = 40, .heads = 40, .kv_heads = 40, .head_dim = 128,
                                         .ffn_dim = 13824, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama2_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                         .ffn_dim = 28672, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama3_8B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                        .ffn_dim = 14336, .vocab = 128256, .context = 8192, .rope_dim = 128,
                                        .rope_base = 500000.0f};
inline constexpr ModelConfig kLlama3_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                         .ffn_dim = 28672, .vocab = 128256, .context = 8192, .rope_dim = 128,
                                         .rope_base = 500000.0f};
inline constexpr ModelConfig kLlama3_1_8B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                          .ffn_dim = 14336, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors};
inline constexpr ModelConfig kLlama3_1_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                           .ffn_dim = 28672, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                           .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors};
inline constexpr ModelConfig kLlama3_2_1B{.dim = 2048, .layers = 16, .heads = 32, .kv_heads = 8, .head_dim = 64,
                                          .ffn_dim = 8192, .vocab = 128256, .context = 131072, .rope_dim = 64,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kLlama3_2_3B{.dim = 3072, .layers = 28, .heads = 24, .kv_heads = 8, .head_dim = 128,
                                          .ffn_dim = 8192, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors,
                                          .tied_embeddings = true};
// Mistral 7B: v0.2 (v0.1 differs in rope_base 10000 and window 4096; v0.3 in vocab 32768).
inline constexpr ModelConfig kMistral7B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                        .ffn_dim = 14336, .vocab = 32000, .context = 32768, .rope_dim = 128,
                                        .rope_base = 1000000.0f};
inline constexpr ModelConfig kSmolLM2_135M{.dim = 576, .layers = 30, .heads = 9, .kv_heads = 3, .head_dim = 64,
                                           .ffn_dim = 1536, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 100000.0f, .tied_embeddings = true};
inline constexpr ModelConfig kSmolLM2_360M{.dim = 960, .layers = 32, .heads = 15, .kv_heads = 5, .head_dim = 64,
                                           .ffn_dim = 2560, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 100000.0f, .tied_embeddings = true};
inline constexpr ModelConfig kSmolLM2_1_7B{.dim = 2048, .layers = 24, .heads = 32, .kv_heads = 32, .head_dim = 64,
                                           .ffn_dim = 8192, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 130000.0f, .tied_embeddings = true};

inline constexpr ModelConfig kLfm2_1_2B{
    .architecture = Architecture::kLfm2, .dim = 2048, .layers = 16, .heads = 32, .kv_heads = 8, .head_dim = 64,
    .ffn_dim = 8192, .vocab = 65536, .context = 128000, .rope_dim = 64, .rope_base = 1000000.0f, .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves},
    .attention = {.qk_norm = QkNorm::kHead},
    .state = {.layers = LayerPattern::AllBut(15, {2, 5, 8, 10, 12, 14}), .kernel = 3, .kind = StateKind::kConvolution}};

// Latent attention: head_dim and value_dim are those of the cache. YaRN's factor 40 is in attention.scale.
inline constexpr ModelConfig kDeepSeekV2Lite{
    .architecture = Architecture::kDeepSeek2, .dim = 2048, .layers = 27, .heads = 16, .kv_heads = 1, .head_dim = 576,
    .value_dim = 512, .ffn_dim = 10944, .vocab = 102400, .context = 163840, .rope_dim = 64, .rope_scale = 40.0f,
    .rope_scaling = RopeScaling::kYarn, .norm_epsilon = 1e-6f, .experts = 64, .experts_per_token = 6,
    .rope = {.original_context = 4096, .log_multiplier = 1.0f},
    .attention = {.scale = 0.114721388f},
    .expert = {.ffn_dim = 1408, .shared_ffn_dim = 2816, .leading_dense = 1, .router = Router::kSoftmaxOfAll},
    .latent = {.rank = 512, .head_dim = 192, .value_dim = 128}};
inline constexpr ModelConfig kDeepSeekV3{
    .architecture = Architecture::kDeepSeek2, .dim = 7168, .layers = 61, .heads = 128, .kv_heads = 1, .head_dim = 576,
    .value_dim = 512, .ffn_dim = 18432, .vocab = 129280, .context = 163840, .rope_dim = 64, .rope_scale = 40.0f,
    .rope_scaling = RopeScaling::kYarn, .norm_epsilon = 1e-6f, .experts = 256, .experts_per_token = 8,
    .rope = {.original_context = 4096, .log_multiplier = 1.0f},
    .attention = {.scale = 0.135233775f},
    .expert = {.ffn_dim = 2048, .shared_ffn_dim = 2048, .leading_dense = 3, .groups = 8, .groups_used = 4, .scale = 2.5f,
               .router = Router::kSigmoid, .normalized = true, .selection_bias = true},
    .latent = {.rank = 512, .query_rank = 1536, .head_dim = 192, .value_dim = 128}};

// Without the layers that predict further tokens.
inline constexpr ModelConfig kQwen3Next_80B_A3B{
    .architecture = Architecture::kQwen3Next, .dim = 2048, .layers = 48, .heads = 16, .kv_heads = 2, .head_dim = 256,
    .ffn_dim = 5120, .vocab = 151936, .context = 262144, .rope_dim = 64, .rope_base = 10000000.0f, .norm_epsilon = 1e-6f,
    .experts = 512, .experts_per_token = 10,
    .rope = {.style = RopeStyle::kHalves},
    .attention = {.qk_norm = QkNorm::kHead, .output_gate = true},
    .expert = {.ffn_dim = 512, .shared_ffn_dim = 512, .shared_gate = true},
    .state = {.layers = LayerPattern::AllButLastOf(4), .kernel = 4, .inner_dim = 4096, .heads = 32, .groups = 16,
              .key_dim = 128, .kind = StateKind::kDelta}};
inline constexpr ModelConfig kQwen3_5_9B{
    .architecture = Architecture::kQwen35, .dim = 4096, .layers = 32, .heads = 16, .kv_heads = 4, .head_dim = 256,
    .ffn_dim = 12288, .vocab = 248320, .context = 262144, .rope_dim = 64, .rope_base = 10000000.0f, .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves},
    .attention = {.qk_norm = QkNorm::kHead, .output_gate = true},
    .state = {.layers = LayerPattern::AllButLastOf(4), .kernel = 4, .inner_dim = 4096, .heads = 32, .groups = 16,
              .key_dim = 128, .kind = StateKind::kDelta, .tiled_groups = true}};
inline constexpr ModelConfig kGranite4HMicro{
    .architecture = Architecture::kGraniteHybrid, .dim = 2048, .layers = 40, .heads = 32, .kv_heads = 8, .head_dim = 64,
    .ffn_dim = 8192, .vocab = 100352, .context = 1048576, .tied_embeddings = true,
    .attention = {.scale = 0.015625f},
    .state = {.layers = LayerPattern::AllBut(10, {5}), .kernel = 4, .inner_dim = 4096, .heads = 64, .groups = 1,
              .key_dim = 128, .kind = StateKind::kSpace},
    .embedding_scale = 12.0f, .residual_scale = 0.22f, .logit_divisor = 8.0f};
inline constexpr ModelConfig kGranite4HTiny{
    .architecture = Architecture::kGraniteHybrid, .dim = 1536, .layers = 40, .heads = 12, .kv_heads = 4, .head_dim = 128,
    .ffn_dim = 512, .vocab = 100352, .context = 1048576, .tied_embeddings = true, .experts = 64, .experts_per_token = 6,
    .attention = {.scale = 0.0078125f},
    .expert = {.shared_ffn_dim = 1024},
    .state = {.layers = LayerPattern::AllBut(10, {5}), .kernel = 4, .inner_dim = 3072, .heads = 48, .groups = 1,
              .key_dim = 128, .kind = StateKind::kSpace},
    .embedding_scale = 12.0f, .residual_scale = 0.22f, .logit_divisor = 6.0f};

struct KnownModel {
  std::string_view name;        // for people and command lines
  std::string_view identifier;  // the constant's name
  const ModelConfig* config;
};

inline constexpr std::array kKnownModels = {
    KnownModel{"inlay-tiny", "kInlayTiny", &kInlayTiny},
    KnownModel{"stories260K", "kStories260K", &kStories260K},
    KnownModel{"stories15M", "kStories15M", &kStories15M},
    KnownModel{"stories42M", "kStories42M", &kStories42M},
    KnownModel{"stories110M", "kStories110M", &kStories110M},
    KnownModel{"tinyllama-1.1b", "kTinyLlama1_1B", &kTinyLlama1_1B},
    KnownModel{"llama-2-7b", "kLlama2_7B", &kLlama2_7B},
    KnownModel{"llama-2-13b", "kLlama2_13B", &kLlama2_13B},
    KnownModel{"llama-2-70b", "kLlama2_70B", &kLlama2_70B},
    KnownModel{"llama-3-8b", "kLlama3_8B", &kLlama3_8B},
    KnownModel{"llama-3-70b", "kLlama3_70B", &kLlama3_70B},
    KnownModel{"llama-3.1-8b", "kLlama3_1_8B", &kLlama3_1_8B},
    KnownModel{"llama-3.1-70b", "kLlama3_1_70B", &kLlama3_1_70B},
    KnownModel{"llama-3.2-1b", "kLlama3_2_1B", &kLlama3_2_1B},
    KnownModel{"llama-3.2-3b", "kLlama3_2_3B", &kLlama3_2_3B},
    KnownModel{"mistral-7b", "kMistral7B", &kMistral7B},
    KnownModel{"smollm2-135m", "kSmolLM2_135M", &kSmolLM2_135M},
    KnownModel{"smollm2-360m", "kSmolLM2_360M", &kSmolLM2_360M},
    KnownModel{"smollm2-1.7b", "kSmolLM2_1_7B", &kSmolLM2_1_7B},
    KnownModel{"lfm2-1.2b", "kLfm2_1_2B", &kLfm2_1_2B},
    KnownModel{"deepseek-v2-lite", "kDeepSeekV2Lite", &kDeepSeekV2Lite},
    KnownModel{"deepseek-v3", "kDeepSeekV3", &kDeepSeekV3},
    KnownModel{"qwen3-next-80b-a3b", "kQwen3Next_80B_A3B", &kQwen3Next_80B_A3B},
    KnownModel{"qwen3.5-9b", "kQwen3_5_9B", &kQwen3_5_9B},
    KnownModel{"granite-4.0-h-micro", "kGranite4HMicro", &kGranite4HMicro},
    KnownModel{"granite-4.0-h-tiny", "kGranite4HTiny", &kGranite4HTiny},
};

// nullptr when no model of that name is known.
constexpr const KnownModel* FindKnownModel(std::string_view name) {
  for (const KnownModel& model : kKnownModels) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_KNOWN_MODELS_HPP_
