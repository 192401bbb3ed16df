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

inline constexpr ModelConfig kMixtral8x7B{
    .dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 14336, .vocab = 32000, .context = 32768, .rope_dim = 128, .rope_base = 1000000.0f,
    .experts = 8, .experts_per_token = 2};
inline constexpr ModelConfig kMistralSmall24B{
    .dim = 5120, .layers = 40, .heads = 32, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 32768, .vocab = 131072, .context = 32768, .rope_dim = 128, .rope_base = 100000000.0f};
inline constexpr ModelConfig kLlama4Scout{
    .architecture = Architecture::kLlama4, .dim = 5120, .layers = 48, .heads = 40, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 16384, .vocab = 202048, .context = 10485760, .rope_dim = 128, .rope_base = 500000.0f,
    .rope_scaling = RopeScaling::kFactors, .window = 8192, .experts = 16, .experts_per_token = 1,
    .rope = {.unrotated = LayerPattern::LastOf(4)},
    .attention = {.global = LayerPattern::LastOf(4), .temperature = 0.1f, .temperature_offset = 1.0f,
                  .temperature_length = 8192, .temperature_unrotated = true, .qk_norm = QkNorm::kUnweighted,
                  .window_kind = WindowKind::kChunked},
    .expert = {.ffn_dim = 8192, .shared_ffn_dim = 8192, .router = Router::kSigmoid, .scales_input = true}};
inline constexpr ModelConfig kQwen2_5_0_5B{
    .architecture = Architecture::kQwen2, .dim = 896, .layers = 24, .heads = 14, .kv_heads = 2, .head_dim = 64,
    .ffn_dim = 4864, .vocab = 151936, .context = 32768, .rope_dim = 64, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen2_5_1_5B{
    .architecture = Architecture::kQwen2, .dim = 1536, .layers = 28, .heads = 12, .kv_heads = 2, .head_dim = 128,
    .ffn_dim = 8960, .vocab = 151936, .context = 32768, .rope_dim = 128, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen2_5_3B{
    .architecture = Architecture::kQwen2, .dim = 2048, .layers = 36, .heads = 16, .kv_heads = 2, .head_dim = 128,
    .ffn_dim = 11008, .vocab = 151936, .context = 32768, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen2_5_7B{
    .architecture = Architecture::kQwen2, .dim = 3584, .layers = 28, .heads = 28, .kv_heads = 4, .head_dim = 128,
    .ffn_dim = 18944, .vocab = 152064, .context = 32768, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen2_5_14B{
    .architecture = Architecture::kQwen2, .dim = 5120, .layers = 48, .heads = 40, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 13824, .vocab = 152064, .context = 32768, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen2_5_32B{
    .architecture = Architecture::kQwen2, .dim = 5120, .layers = 64, .heads = 40, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 27648, .vocab = 152064, .context = 32768, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen2_5_72B{
    .architecture = Architecture::kQwen2, .dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 29568, .vocab = 152064, .context = 32768, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen3_0_6B{
    .architecture = Architecture::kQwen3, .dim = 1024, .layers = 28, .heads = 16, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 3072, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qk_norm = QkNorm::kHead}};
inline constexpr ModelConfig kQwen3_1_7B{
    .architecture = Architecture::kQwen3, .dim = 2048, .layers = 28, .heads = 16, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 6144, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qk_norm = QkNorm::kHead}};
inline constexpr ModelConfig kQwen3_4B{
    .architecture = Architecture::kQwen3, .dim = 2560, .layers = 36, .heads = 32, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 9728, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qk_norm = QkNorm::kHead}};
inline constexpr ModelConfig kQwen3_8B{
    .architecture = Architecture::kQwen3, .dim = 4096, .layers = 36, .heads = 32, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 12288, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qk_norm = QkNorm::kHead}};
inline constexpr ModelConfig kQwen3_14B{
    .architecture = Architecture::kQwen3, .dim = 5120, .layers = 40, .heads = 40, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 17408, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qk_norm = QkNorm::kHead}};
inline constexpr ModelConfig kQwen3_32B{
    .architecture = Architecture::kQwen3, .dim = 5120, .layers = 64, .heads = 64, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 25600, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .attention = {.qk_norm = QkNorm::kHead}};
inline constexpr ModelConfig kQwen3_30B_A3B{
    .architecture = Architecture::kQwen3Moe, .dim = 2048, .layers = 48, .heads = 32, .kv_heads = 4, .head_dim = 128,
    .ffn_dim = 6144, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .experts = 128, .experts_per_token = 8, .rope = {.style = RopeStyle::kHalves},
    .attention = {.qk_norm = QkNorm::kHead}, .expert = {.ffn_dim = 768}};
inline constexpr ModelConfig kQwen3_235B_A22B{
    .architecture = Architecture::kQwen3Moe, .dim = 4096, .layers = 94, .heads = 64, .kv_heads = 4, .head_dim = 128,
    .ffn_dim = 12288, .vocab = 151936, .context = 40960, .rope_dim = 128, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f,
    .experts = 128, .experts_per_token = 8, .rope = {.style = RopeStyle::kHalves},
    .attention = {.qk_norm = QkNorm::kHead}, .expert = {.ffn_dim = 1536}};
inline constexpr ModelConfig kGemma2B{
    .architecture = Architecture::kGemma, .dim = 2048, .layers = 18, .heads = 8, .kv_heads = 1, .head_dim = 256,
    .ffn_dim = 16384, .vocab = 256000, .context = 8192, .rope_dim = 256, .norm_epsilon = 1e-6f, .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .activation = Activation::kGelu, .embedding_scale = 45.2548332f};
inline constexpr ModelConfig kGemma7B{
    .architecture = Architecture::kGemma, .dim = 3072, .layers = 28, .heads = 16, .kv_heads = 16, .head_dim = 256,
    .ffn_dim = 24576, .vocab = 256000, .context = 8192, .rope_dim = 256, .norm_epsilon = 1e-6f, .tied_embeddings = true,
    .rope = {.style = RopeStyle::kHalves}, .activation = Activation::kGelu, .embedding_scale = 55.4256248f};
inline constexpr ModelConfig kGemma2_2B{
    .architecture = Architecture::kGemma2, .dim = 2304, .layers = 26, .heads = 8, .kv_heads = 4, .head_dim = 256,
    .ffn_dim = 9216, .vocab = 256000, .context = 8192, .rope_dim = 256, .norm_epsilon = 1e-6f,
    .tied_embeddings = true, .window = 4096,
    .rope = {.style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(2), .softcap = 50.0f}, .activation = Activation::kGelu,
    .embedding_scale = 48.0f, .logit_softcap = 30.0f};
inline constexpr ModelConfig kGemma2_9B{
    .architecture = Architecture::kGemma2, .dim = 3584, .layers = 42, .heads = 16, .kv_heads = 8, .head_dim = 256,
    .ffn_dim = 14336, .vocab = 256000, .context = 8192, .rope_dim = 256, .norm_epsilon = 1e-6f,
    .tied_embeddings = true, .window = 4096,
    .rope = {.style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(2), .softcap = 50.0f}, .activation = Activation::kGelu,
    .embedding_scale = 59.8665199f, .logit_softcap = 30.0f};
inline constexpr ModelConfig kGemma2_27B{
    .architecture = Architecture::kGemma2, .dim = 4608, .layers = 46, .heads = 32, .kv_heads = 16, .head_dim = 128,
    .ffn_dim = 36864, .vocab = 256000, .context = 8192, .rope_dim = 128, .norm_epsilon = 1e-6f,
    .tied_embeddings = true, .window = 4096,
    .rope = {.style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(2), .scale = 0.0833333358f, .softcap = 50.0f},
    .activation = Activation::kGelu,
    .embedding_scale = 67.8822479f, .logit_softcap = 30.0f};
inline constexpr ModelConfig kGemma3_270M{
    .architecture = Architecture::kGemma3, .dim = 640, .layers = 18, .heads = 4, .kv_heads = 1, .head_dim = 256,
    .ffn_dim = 2048, .vocab = 262144, .context = 32768, .rope_dim = 256, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 512,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead}, .activation = Activation::kGelu,
    .embedding_scale = 25.2982216f};
inline constexpr ModelConfig kGemma3_1B{
    .architecture = Architecture::kGemma3, .dim = 1152, .layers = 26, .heads = 4, .kv_heads = 1, .head_dim = 256,
    .ffn_dim = 6912, .vocab = 262144, .context = 32768, .rope_dim = 256, .rope_base = 1000000.0f,
    .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 512,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead}, .activation = Activation::kGelu,
    .embedding_scale = 33.941124f};
inline constexpr ModelConfig kGemma3_4B{
    .architecture = Architecture::kGemma3, .dim = 2560, .layers = 34, .heads = 8, .kv_heads = 4, .head_dim = 256,
    .ffn_dim = 10240, .vocab = 262144, .context = 131072, .rope_dim = 256, .rope_base = 1000000.0f,
    .rope_scale = 8.0f, .rope_scaling = RopeScaling::kLinear,
    .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 1024,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead}, .activation = Activation::kGelu,
    .embedding_scale = 50.5964432f};
inline constexpr ModelConfig kGemma3_12B{
    .architecture = Architecture::kGemma3, .dim = 3840, .layers = 48, .heads = 16, .kv_heads = 8, .head_dim = 256,
    .ffn_dim = 15360, .vocab = 262144, .context = 131072, .rope_dim = 256, .rope_base = 1000000.0f,
    .rope_scale = 8.0f, .rope_scaling = RopeScaling::kLinear,
    .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 1024,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead}, .activation = Activation::kGelu,
    .embedding_scale = 61.9677353f};
inline constexpr ModelConfig kGemma3_27B{
    .architecture = Architecture::kGemma3, .dim = 5376, .layers = 62, .heads = 32, .kv_heads = 16, .head_dim = 128,
    .ffn_dim = 21504, .vocab = 262144, .context = 131072, .rope_dim = 128, .rope_base = 1000000.0f,
    .rope_scale = 8.0f, .rope_scaling = RopeScaling::kLinear,
    .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 1024,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(6), .scale = 0.0771516785f, .qk_norm = QkNorm::kHead},
    .activation = Activation::kGelu,
    .embedding_scale = 73.3212128f};
inline constexpr ModelConfig kEmbeddingGemma300M{
    .architecture = Architecture::kGemmaEmbedding, .dim = 768, .layers = 24, .heads = 3, .kv_heads = 1, .head_dim = 256,
    .ffn_dim = 1152, .vocab = 262144, .context = 2048, .rope_dim = 256, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .window = 512, .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
    .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead, .window_kind = WindowKind::kSymmetric,
                  .causal = false},
    .activation = Activation::kGelu, .embedding_scale = 27.7128124f, .logits = false, .pooling = Pooling::kMean,
    .head = {.first_dim = 3072, .last_dim = 768}};
inline constexpr ModelConfig kPhi3Mini{
    .architecture = Architecture::kPhi3, .dim = 3072, .layers = 32, .heads = 32, .kv_heads = 32, .head_dim = 96,
    .ffn_dim = 8192, .vocab = 32064, .context = 4096, .rope_dim = 96, .window = 2047,
    .rope = {.style = RopeStyle::kHalves}};
inline constexpr ModelConfig kPhi4{
    .architecture = Architecture::kPhi3, .dim = 5120, .layers = 40, .heads = 40, .kv_heads = 10, .head_dim = 128,
    .ffn_dim = 17920, .vocab = 100352, .context = 16384, .rope_dim = 128, .rope_base = 250000.0f,
    .rope = {.style = RopeStyle::kHalves}};
inline constexpr ModelConfig kGptOss20B{
    .architecture = Architecture::kGptOss, .dim = 2880, .layers = 24, .heads = 64, .kv_heads = 8, .head_dim = 64,
    .ffn_dim = 2880, .vocab = 201088, .context = 131072, .rope_dim = 64, .rope_base = 150000.0f, .rope_scale = 32.0f,
    .rope_scaling = RopeScaling::kYarn, .window = 128, .experts = 32, .experts_per_token = 4,
    .rope = {.original_context = 4096, .style = RopeStyle::kHalves},
    .attention = {.global = LayerPattern::LastOf(2), .qkv_bias = true, .output_bias = true, .sinks = true},
    .expert = {.router_bias = true, .bias = true}, .activation = Activation::kClampedSilu};
inline constexpr ModelConfig kGptOss120B{
    .architecture = Architecture::kGptOss, .dim = 2880, .layers = 36, .heads = 64, .kv_heads = 8, .head_dim = 64,
    .ffn_dim = 2880, .vocab = 201088, .context = 131072, .rope_dim = 64, .rope_base = 150000.0f, .rope_scale = 32.0f,
    .rope_scaling = RopeScaling::kYarn, .window = 128, .experts = 128, .experts_per_token = 4,
    .rope = {.original_context = 4096, .style = RopeStyle::kHalves},
    .attention = {.global = LayerPattern::LastOf(2), .qkv_bias = true, .output_bias = true, .sinks = true},
    .expert = {.router_bias = true, .bias = true}, .activation = Activation::kClampedSilu};
inline constexpr ModelConfig kSmolLM3_3B{
    .architecture = Architecture::kSmolLm3, .dim = 2048, .layers = 36, .heads = 16, .kv_heads = 4, .head_dim = 128,
    .ffn_dim = 11008, .vocab = 128256, .context = 65536, .rope_dim = 128, .rope_base = 5000000.0f,
    .norm_epsilon = 1e-6f,
    .tied_embeddings = true, .rope = {.unrotated = LayerPattern::LastOf(4)}};
inline constexpr ModelConfig kOlmo2_1B{
    .architecture = Architecture::kOlmo2, .dim = 2048, .layers = 16, .heads = 16, .kv_heads = 16, .head_dim = 128,
    .ffn_dim = 8192, .vocab = 100352, .context = 4096, .rope_dim = 128, .rope_base = 500000.0f, .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kPost},
    .attention = {.qk_norm = QkNorm::kWidth}};
inline constexpr ModelConfig kOlmo2_7B{
    .architecture = Architecture::kOlmo2, .dim = 4096, .layers = 32, .heads = 32, .kv_heads = 32, .head_dim = 128,
    .ffn_dim = 11008, .vocab = 100352, .context = 4096, .rope_dim = 128, .rope_base = 500000.0f, .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kPost},
    .attention = {.qk_norm = QkNorm::kWidth}};
inline constexpr ModelConfig kOlmo2_13B{
    .architecture = Architecture::kOlmo2, .dim = 5120, .layers = 40, .heads = 40, .kv_heads = 40, .head_dim = 128,
    .ffn_dim = 13824, .vocab = 100352, .context = 4096, .rope_dim = 128, .rope_base = 500000.0f, .norm_epsilon = 1e-6f,
    .rope = {.style = RopeStyle::kHalves}, .norm = {.placement = NormPlacement::kPost},
    .attention = {.qk_norm = QkNorm::kWidth}};
inline constexpr ModelConfig kGranite3_3_2B{
    .architecture = Architecture::kGranite, .dim = 2048, .layers = 40, .heads = 32, .kv_heads = 8, .head_dim = 64,
    .ffn_dim = 8192, .vocab = 49159, .context = 131072, .rope_dim = 64, .rope_base = 10000000.0f,
    .tied_embeddings = true,
    .attention = {.scale = 0.015625f}, .embedding_scale = 12.0f, .residual_scale = 0.22f, .logit_divisor = 8.0f};
inline constexpr ModelConfig kGranite3_3_8B{
    .architecture = Architecture::kGranite, .dim = 4096, .layers = 40, .heads = 32, .kv_heads = 8, .head_dim = 128,
    .ffn_dim = 12800, .vocab = 49159, .context = 131072, .rope_dim = 128, .rope_base = 10000000.0f,
    .tied_embeddings = true,
    .attention = {.scale = 0.0078125f}, .embedding_scale = 12.0f, .residual_scale = 0.22f, .logit_divisor = 16.0f};
inline constexpr ModelConfig kGpt2_124M{
    .architecture = Architecture::kGpt2, .dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
    .ffn_dim = 3072, .vocab = 50257, .context = 1024, .tied_embeddings = true, .norm = {.kind = NormKind::kLayer,
    .bias = true},
    .attention = {.qkv_bias = true, .output_bias = true}, .activation = Activation::kGelu, .gated = false,
    .ffn_bias = true, .learned_positions = true};
inline constexpr ModelConfig kGpt2Medium{
    .architecture = Architecture::kGpt2, .dim = 1024, .layers = 24, .heads = 16, .kv_heads = 16, .head_dim = 64,
    .ffn_dim = 4096, .vocab = 50257, .context = 1024, .tied_embeddings = true, .norm = {.kind = NormKind::kLayer,
    .bias = true},
    .attention = {.qkv_bias = true, .output_bias = true}, .activation = Activation::kGelu, .gated = false,
    .ffn_bias = true, .learned_positions = true};
inline constexpr ModelConfig kGpt2Large{
    .architecture = Architecture::kGpt2, .dim = 1280, .layers = 36, .heads = 20, .kv_heads = 20, .head_dim = 64,
    .ffn_dim = 5120, .vocab = 50257, .context = 1024, .tied_embeddings = true, .norm = {.kind = NormKind::kLayer,
    .bias = true},
    .attention = {.qkv_bias = true, .output_bias = true}, .activation = Activation::kGelu, .gated = false,
    .ffn_bias = true, .learned_positions = true};
inline constexpr ModelConfig kGpt2Xl{
    .architecture = Architecture::kGpt2, .dim = 1600, .layers = 48, .heads = 25, .kv_heads = 25, .head_dim = 64,
    .ffn_dim = 6400, .vocab = 50257, .context = 1024, .tied_embeddings = true, .norm = {.kind = NormKind::kLayer,
    .bias = true},
    .attention = {.qkv_bias = true, .output_bias = true}, .activation = Activation::kGelu, .gated = false,
    .ffn_bias = true, .learned_positions = true};
inline constexpr ModelConfig kPythia160M{
    .architecture = Architecture::kGptNeoX, .dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
    .ffn_dim = 3072, .vocab = 50304, .context = 2048, .rope_dim = 16, .rope = {.style = RopeStyle::kHalves},
    .norm = {.kind = NormKind::kLayer, .bias = true}, .attention = {.qkv_bias = true, .output_bias = true},
    .activation = Activation::kGelu, .gated = false, .ffn_bias = true, .parallel_residual = true};
inline constexpr ModelConfig kPythia1B{
    .architecture = Architecture::kGptNeoX, .dim = 2048, .layers = 16, .heads = 8, .kv_heads = 8, .head_dim = 256,
    .ffn_dim = 8192, .vocab = 50304, .context = 2048, .rope_dim = 64, .rope = {.style = RopeStyle::kHalves},
    .norm = {.kind = NormKind::kLayer, .bias = true}, .attention = {.qkv_bias = true, .output_bias = true},
    .activation = Activation::kGelu, .gated = false, .ffn_bias = true, .parallel_residual = true};
inline constexpr ModelConfig kGptNeoX20B{
    .architecture = Architecture::kGptNeoX, .dim = 6144, .layers = 44, .heads = 64, .kv_heads = 64, .head_dim = 96,
    .ffn_dim = 24576, .vocab = 50432, .context = 2048, .rope_dim = 24, .rope = {.style = RopeStyle::kHalves},
    .norm = {.kind = NormKind::kLayer, .bias = true}, .attention = {.qkv_bias = true, .output_bias = true},
    .activation = Activation::kGelu, .gated = false, .ffn_bias = true, .parallel_residual = true};
inline constexpr ModelConfig kMiniLmL6{
    .architecture = Architecture::kBert, .dim = 384, .layers = 6, .heads = 12, .kv_heads = 12, .head_dim = 32,
    .ffn_dim = 1536, .vocab = 30522, .context = 512, .norm_epsilon = 1e-12f,
    .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual, .bias = true, .embedding = true},
    .attention = {.qkv_bias = true, .output_bias = true, .causal = false}, .activation = Activation::kGelu,
    .gated = false,
    .ffn_bias = true, .learned_positions = true, .token_types = 2, .logits = false, .pooling = Pooling::kMean};
inline constexpr ModelConfig kBgeSmallEn{
    .architecture = Architecture::kBert, .dim = 384, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 32,
    .ffn_dim = 1536, .vocab = 30522, .context = 512, .norm_epsilon = 1e-12f,
    .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual, .bias = true, .embedding = true},
    .attention = {.qkv_bias = true, .output_bias = true, .causal = false}, .activation = Activation::kGelu,
    .gated = false,
    .ffn_bias = true, .learned_positions = true, .token_types = 2, .logits = false, .pooling = Pooling::kCls};
inline constexpr ModelConfig kBgeBaseEn{
    .architecture = Architecture::kBert, .dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
    .ffn_dim = 3072, .vocab = 30522, .context = 512, .norm_epsilon = 1e-12f,
    .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual, .bias = true, .embedding = true},
    .attention = {.qkv_bias = true, .output_bias = true, .causal = false}, .activation = Activation::kGelu,
    .gated = false,
    .ffn_bias = true, .learned_positions = true, .token_types = 2, .logits = false, .pooling = Pooling::kCls};
inline constexpr ModelConfig kNomicEmbedText{
    .architecture = Architecture::kNomicBert, .dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
    .ffn_dim = 3072, .vocab = 30528, .context = 2048, .rope_dim = 64, .rope_base = 1000.0f, .norm_epsilon = 1e-12f,
    .rope = {.style = RopeStyle::kHalves},
    .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual, .bias = true, .embedding = true},
    .attention = {.causal = false}, .token_types = 2, .logits = false, .pooling = Pooling::kMean};
inline constexpr ModelConfig kNomicEmbedTextV2Moe{
    .architecture = Architecture::kNomicBertMoe, .dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
    .ffn_dim = 3072, .vocab = 250048, .context = 512, .rope_dim = 64, .norm_epsilon = 1e-5f, .experts = 8,
    .experts_per_token = 2, .rope = {.style = RopeStyle::kHalves},
    .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual, .bias = true, .embedding = true},
    .attention = {.qkv_bias = true, .output_bias = true, .causal = false},
    .expert = {.step = 2, .router = Router::kSoftmaxOfAll}, .activation = Activation::kGelu, .gated = false,
    .ffn_bias = true, .token_types = 1, .logits = false, .pooling = Pooling::kMean};
inline constexpr ModelConfig kModernBertBase{
    .architecture = Architecture::kModernBert, .dim = 768, .layers = 22, .heads = 12, .kv_heads = 12, .head_dim = 64,
    .ffn_dim = 1152, .vocab = 50368, .context = 8192, .rope_dim = 64, .rope_base = 160000.0f, .window = 128,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
    .norm = {.kind = NormKind::kLayer, .embedding = true, .first_identity = true},
    .attention = {.global = LayerPattern::FirstOf(3), .window_kind = WindowKind::kSymmetric, .causal = false},
    .activation = Activation::kGelu, .logits = false, .pooling = Pooling::kCls};
inline constexpr ModelConfig kMamba2_130M{
    .architecture = Architecture::kMamba2, .dim = 768, .layers = 24, .heads = 1, .kv_heads = 1, .head_dim = 2,
    .vocab = 50288,
    .context = 1048576, .tied_embeddings = true,
    .state = {.layers = LayerPattern::All(), .kernel = 4, .inner_dim = 1536, .heads = 24, .groups = 1, .key_dim = 128,
              .kind = StateKind::kSpace}};
inline constexpr ModelConfig kMamba2_2_7B{
    .architecture = Architecture::kMamba2, .dim = 2560, .layers = 64, .heads = 1, .kv_heads = 1, .head_dim = 2,
    .vocab = 50288,
    .context = 1048576, .tied_embeddings = true,
    .state = {.layers = LayerPattern::All(), .kernel = 4, .inner_dim = 5120, .heads = 80, .groups = 1, .key_dim = 128,
              .kind = StateKind::kSpace}};

// Of the last layers, which share keys and values, only what is used.
inline constexpr ModelConfig kGemma3nE2B{
    .architecture = Architecture::kGemma3n, .dim = 2048, .layers = 30, .heads = 8, .kv_heads = 2, .head_dim = 256,
    .ffn_dim = 8192, .vocab = 262400, .context = 32768, .rope_dim = 256, .rope_base = 1000000.0f, .norm_epsilon = 1e-6f,
    .tied_embeddings = true, .window = 512,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
    .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(5), .scale = 1.0f, .shared_layers = 10,
                  .qk_norm = QkNorm::kHead, .value_norm = true},
    .streams = {.count = 4, .bypass_rank = 64}, .layer_input_dim = 256,
    .sparse_layers = LayerPattern::AllBut(30, {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    28, 29}),
    .sparsity = 1.6448533535f, .activation = Activation::kGelu, .embedding_scale = 45.2548332f, .logit_softcap = 30.0f};
inline constexpr ModelConfig kGemma3nE4B = [] {
  ModelConfig config = kGemma3nE2B;
  config.layers = config.sparse_layers.period = 35;
  config.ffn_dim = 16384;
  config.attention.shared_layers = 15;
  return config;
}();

inline constexpr ModelConfig kGemma4E2B{
    .architecture = Architecture::kGemma4, .dim = 1536, .layers = 35, .heads = 8, .kv_heads = 1, .head_dim = 512,
    .ffn_dim = 6144, .vocab = 262144, .context = 131072, .rope_dim = 512, .rope_base = 1000000.0f,
    .rope_scaling = RopeScaling::kFactors, .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 512,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
    .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(5), .scale = 1.0f, .shared_layers = 20,
                  .qk_norm = QkNorm::kHead, .value_norm = true},
    .local = {.head_dim = 256, .kv_heads = 1, .rope_dim = 256}, .layer_input_dim = 256,
    .wide_layers = LayerPattern::AllBut(35, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}), .wide_ffn_dim = 12288,
    .layer_scale = true, .activation = Activation::kGelu, .embedding_scale = 39.1918358f, .logit_softcap = 30.0f};
inline constexpr ModelConfig kGemma4E4B{
    .architecture = Architecture::kGemma4, .dim = 2560, .layers = 42, .heads = 8, .kv_heads = 2, .head_dim = 512,
    .ffn_dim = 10240, .vocab = 262144, .context = 131072, .rope_dim = 512, .rope_base = 1000000.0f,
    .rope_scaling = RopeScaling::kFactors, .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 512,
    .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
    .norm = {.placement = NormPlacement::kSandwich},
    .attention = {.global = LayerPattern::LastOf(6), .scale = 1.0f, .shared_layers = 18,
                  .qk_norm = QkNorm::kHead, .value_norm = true},
    .local = {.head_dim = 256, .kv_heads = 2, .rope_dim = 256}, .layer_input_dim = 256, .layer_scale = true,
    .activation = Activation::kGelu, .embedding_scale = 50.5964413f, .logit_softcap = 30.0f};

inline constexpr ModelConfig kLfm2_1_2B{
    .architecture = Architecture::kLfm2, .dim = 2048, .layers = 16, .heads = 32, .kv_heads = 8, .head_dim = 64,
    .ffn_dim = 8192, .vocab = 65536, .context = 128000, .rope_dim = 64, .rope_base = 1000000.0f,
    .tied_embeddings = true,
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
    .expert = {.ffn_dim = 2048, .shared_ffn_dim = 2048, .leading_dense = 3, .groups = 8, .groups_used = 4,
    .scale = 2.5f,
               .router = Router::kSigmoid, .normalized = true, .selection_bias = true},
    .latent = {.rank = 512, .query_rank = 1536, .head_dim = 192, .value_dim = 128}};

// Without the layers that predict further tokens.
inline constexpr ModelConfig kQwen3Next_80B_A3B{
    .architecture = Architecture::kQwen3Next, .dim = 2048, .layers = 48, .heads = 16, .kv_heads = 2, .head_dim = 256,
    .ffn_dim = 5120, .vocab = 151936, .context = 262144, .rope_dim = 64, .rope_base = 10000000.0f,
    .norm_epsilon = 1e-6f,
    .experts = 512, .experts_per_token = 10,
    .rope = {.style = RopeStyle::kHalves},
    .attention = {.qk_norm = QkNorm::kHead, .output_gate = true},
    .expert = {.ffn_dim = 512, .shared_ffn_dim = 512, .shared_gate = true},
    .state = {.layers = LayerPattern::AllButLastOf(4), .kernel = 4, .inner_dim = 4096, .heads = 32, .groups = 16,
              .key_dim = 128, .kind = StateKind::kDelta}};
inline constexpr ModelConfig kQwen3_5_9B{
    .architecture = Architecture::kQwen35, .dim = 4096, .layers = 32, .heads = 16, .kv_heads = 4, .head_dim = 256,
    .ffn_dim = 12288, .vocab = 248320, .context = 262144, .rope_dim = 64, .rope_base = 10000000.0f,
    .norm_epsilon = 1e-6f,
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
    .architecture = Architecture::kGraniteHybrid, .dim = 1536, .layers = 40, .heads = 12, .kv_heads = 4,
    .head_dim = 128,
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
    KnownModel{"mixtral-8x7b", "kMixtral8x7B", &kMixtral8x7B},
    KnownModel{"mistral-small-24b", "kMistralSmall24B", &kMistralSmall24B},
    KnownModel{"llama-4-scout", "kLlama4Scout", &kLlama4Scout},
    KnownModel{"qwen2.5-0.5b", "kQwen2_5_0_5B", &kQwen2_5_0_5B},
    KnownModel{"qwen2.5-1.5b", "kQwen2_5_1_5B", &kQwen2_5_1_5B},
    KnownModel{"qwen2.5-3b", "kQwen2_5_3B", &kQwen2_5_3B},
    KnownModel{"qwen2.5-7b", "kQwen2_5_7B", &kQwen2_5_7B},
    KnownModel{"qwen2.5-14b", "kQwen2_5_14B", &kQwen2_5_14B},
    KnownModel{"qwen2.5-32b", "kQwen2_5_32B", &kQwen2_5_32B},
    KnownModel{"qwen2.5-72b", "kQwen2_5_72B", &kQwen2_5_72B},
    KnownModel{"qwen3-0.6b", "kQwen3_0_6B", &kQwen3_0_6B},
    KnownModel{"qwen3-1.7b", "kQwen3_1_7B", &kQwen3_1_7B},
    KnownModel{"qwen3-4b", "kQwen3_4B", &kQwen3_4B},
    KnownModel{"qwen3-8b", "kQwen3_8B", &kQwen3_8B},
    KnownModel{"qwen3-14b", "kQwen3_14B", &kQwen3_14B},
    KnownModel{"qwen3-32b", "kQwen3_32B", &kQwen3_32B},
    KnownModel{"qwen3-30b-a3b", "kQwen3_30B_A3B", &kQwen3_30B_A3B},
    KnownModel{"qwen3-235b-a22b", "kQwen3_235B_A22B", &kQwen3_235B_A22B},
    KnownModel{"gemma-2b", "kGemma2B", &kGemma2B},
    KnownModel{"gemma-7b", "kGemma7B", &kGemma7B},
    KnownModel{"gemma-2-2b", "kGemma2_2B", &kGemma2_2B},
    KnownModel{"gemma-2-9b", "kGemma2_9B", &kGemma2_9B},
    KnownModel{"gemma-2-27b", "kGemma2_27B", &kGemma2_27B},
    KnownModel{"gemma-3-270m", "kGemma3_270M", &kGemma3_270M},
    KnownModel{"gemma-3-1b", "kGemma3_1B", &kGemma3_1B},
    KnownModel{"gemma-3-4b", "kGemma3_4B", &kGemma3_4B},
    KnownModel{"gemma-3-12b", "kGemma3_12B", &kGemma3_12B},
    KnownModel{"gemma-3-27b", "kGemma3_27B", &kGemma3_27B},
    KnownModel{"embeddinggemma-300m", "kEmbeddingGemma300M", &kEmbeddingGemma300M},
    KnownModel{"phi-3-mini-4k", "kPhi3Mini", &kPhi3Mini},
    KnownModel{"phi-4", "kPhi4", &kPhi4},
    KnownModel{"gpt-oss-20b", "kGptOss20B", &kGptOss20B},
    KnownModel{"gpt-oss-120b", "kGptOss120B", &kGptOss120B},
    KnownModel{"smollm3-3b", "kSmolLM3_3B", &kSmolLM3_3B},
    KnownModel{"olmo-2-1b", "kOlmo2_1B", &kOlmo2_1B},
    KnownModel{"olmo-2-7b", "kOlmo2_7B", &kOlmo2_7B},
    KnownModel{"olmo-2-13b", "kOlmo2_13B", &kOlmo2_13B},
    KnownModel{"granite-3.3-2b", "kGranite3_3_2B", &kGranite3_3_2B},
    KnownModel{"granite-3.3-8b", "kGranite3_3_8B", &kGranite3_3_8B},
    KnownModel{"gpt2", "kGpt2_124M", &kGpt2_124M},
    KnownModel{"gpt2-medium", "kGpt2Medium", &kGpt2Medium},
    KnownModel{"gpt2-large", "kGpt2Large", &kGpt2Large},
    KnownModel{"gpt2-xl", "kGpt2Xl", &kGpt2Xl},
    KnownModel{"pythia-160m", "kPythia160M", &kPythia160M},
    KnownModel{"pythia-1b", "kPythia1B", &kPythia1B},
    KnownModel{"gpt-neox-20b", "kGptNeoX20B", &kGptNeoX20B},
    KnownModel{"all-minilm-l6-v2", "kMiniLmL6", &kMiniLmL6},
    KnownModel{"bge-small-en-v1.5", "kBgeSmallEn", &kBgeSmallEn},
    KnownModel{"bge-base-en-v1.5", "kBgeBaseEn", &kBgeBaseEn},
    KnownModel{"nomic-embed-text-v1.5", "kNomicEmbedText", &kNomicEmbedText},
    KnownModel{"nomic-embed-text-v2-moe", "kNomicEmbedTextV2Moe", &kNomicEmbedTextV2Moe},
    KnownModel{"modernbert-base", "kModernBertBase", &kModernBertBase},
    KnownModel{"mamba2-130m", "kMamba2_130M", &kMamba2_130M},
    KnownModel{"mamba2-2.7b", "kMamba2_2_7B", &kMamba2_2_7B},
    KnownModel{"gemma-3n-e2b", "kGemma3nE2B", &kGemma3nE2B},
    KnownModel{"gemma-3n-e4b", "kGemma3nE4B", &kGemma3nE4B},
    KnownModel{"gemma-4-e2b", "kGemma4E2B", &kGemma4E2B},
    KnownModel{"gemma-4-e4b", "kGemma4E4B", &kGemma4E4B},
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
