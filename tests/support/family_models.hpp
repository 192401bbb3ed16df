// A small model of each family, with all that is particular to it spelled out: what a file of the family is read as is
// compared with this, and the same configurations are compiled as static models (tests/support/models/family_*.cpp).
#ifndef INLAY_TESTS_SUPPORT_FAMILY_MODELS_HPP_
#define INLAY_TESTS_SUPPORT_FAMILY_MODELS_HPP_

#include <vector>

#include "inlay/config/model_config.hpp"
#include "tests/support/test_model.hpp"

namespace inlay_test {

namespace family {

using enum inlay::Architecture;
using inlay::Activation;
using inlay::LayerPattern;
using inlay::ModelConfig;
using inlay::NormKind;
using inlay::NormPlacement;
using inlay::Pooling;
using inlay::QkNorm;
using inlay::RopeScaling;
using inlay::RopeStyle;
using inlay::Router;
using inlay::WindowKind;

inline constexpr ModelConfig kMistral{.architecture = kMistral3, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                      .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                      .rope_scale = 16.0f, .rope_scaling = RopeScaling::kYarn,
                                      .rope = {.original_context = 16, .beta_fast = 2.0f, .beta_slow = 0.25f,
                                               .log_multiplier = 0.5f},
                                      .attention = {.temperature = 0.25f, .temperature_length = 16}};
inline constexpr ModelConfig kLlama4Text{.architecture = kLlama4, .dim = 48, .layers = 4, .heads = 4, .kv_heads = 2,
                                         .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                         .window = 8192, .experts = 4, .experts_per_token = 1,
                                         .rope = {.unrotated = LayerPattern::LastOf(4)},
                                         .attention = {.global = LayerPattern::LastOf(4), .temperature = 0.1f,
                                                       .temperature_offset = 1.0f, .temperature_length = 8192,
                                                       .temperature_unrotated = true, .qk_norm = QkNorm::kUnweighted,
                                                       .window_kind = WindowKind::kChunked},
                                         .expert = {.ffn_dim = 40, .shared_ffn_dim = 40, .step = 2,
                                                    .router = Router::kSigmoid, .scales_input = true}};
inline constexpr ModelConfig kQwen2Dense{.architecture = kQwen2, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                         .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 12,
                                         .tied_embeddings = true, .rope = {.style = RopeStyle::kHalves},
                                         .attention = {.qkv_bias = true}};
inline constexpr ModelConfig kQwen3Dense{.architecture = kQwen3, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                         .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                         .norm_epsilon = 1e-3f, .rope = {.style = RopeStyle::kHalves},
                                         .attention = {.qk_norm = QkNorm::kHead}, .pooling = Pooling::kLast};
inline constexpr ModelConfig kQwen3Experts{.architecture = kQwen3Moe, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                           .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                           .experts = 6, .experts_per_token = 3, .rope = {.style = RopeStyle::kHalves},
                                           .attention = {.qk_norm = QkNorm::kHead}, .expert = {.ffn_dim = 24}};
inline constexpr ModelConfig kPhi{.architecture = kPhi3, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 12,
                                  .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 8,
                                  .rope_scaling = RopeScaling::kLongRope,
                                  .rope = {.original_context = 32, .attention_factor = 1.25f,
                                           .style = RopeStyle::kHalves}};
inline constexpr ModelConfig kGemma1{.architecture = kGemma, .dim = 64, .layers = 2, .heads = 4, .kv_heads = 1,
                                     .head_dim = 24, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 24,
                                     .norm_epsilon = 1e-6f, .tied_embeddings = true, .rope = {.style = RopeStyle::kHalves},
                                     .activation = Activation::kGelu, .embedding_scale = 8.0f};
inline constexpr ModelConfig kGemmaTwo{.architecture = kGemma2, .dim = 64, .layers = 4, .heads = 4, .kv_heads = 2,
                                       .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                       .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 10,
                                       .rope = {.style = RopeStyle::kHalves},
                                       .norm = {.placement = NormPlacement::kSandwich},
                                       .attention = {.global = LayerPattern::LastOf(2), .softcap = 2.0f},
                                       .activation = Activation::kGelu, .embedding_scale = 8.0f, .logit_softcap = 3.0f};
inline constexpr ModelConfig kGemmaThree{.architecture = kGemma3, .dim = 64, .layers = 7, .heads = 4, .kv_heads = 2,
                                         .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                         .rope_base = 100000.0f, .rope_scale = 8.0f, .rope_scaling = RopeScaling::kLinear,
                                         .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 10,
                                         .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                                         .norm = {.placement = NormPlacement::kSandwich},
                                         .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead},
                                         .activation = Activation::kGelu, .embedding_scale = 8.0f};
// The last layer, which has a window, shares the keys of layer 3; the first two cut off their gates.
inline constexpr ModelConfig kGemmaThreeN{.architecture = kGemma3n, .dim = 64, .layers = 6, .heads = 4, .kv_heads = 2,
                                          .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                          .rope_base = 1000000.0f, .norm_epsilon = 1e-6f, .tied_embeddings = true,
                                          .window = 10, .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                                          .norm = {.placement = NormPlacement::kSandwich},
                                          .attention = {.global = LayerPattern::LastOf(5), .scale = 1.0f, .shared_layers = 1,
                                                        .qk_norm = QkNorm::kHead, .value_norm = true},
                                          .streams = {.count = 4, .bypass_rank = 12}, .layer_input_dim = 20,
                                          .sparse_layers = LayerPattern{6}.Add(0).Add(1), .sparsity = 0.75f,
                                          .activation = Activation::kGelu, .embedding_scale = 8.0f, .logit_softcap = 3.0f};
// The small ones: two kinds of heads, the last two layers wider and with the keys of layers 2 and 3.
inline constexpr ModelConfig kGemmaFour{.architecture = kGemma4, .dim = 64, .layers = 6, .heads = 4, .kv_heads = 1,
                                        .head_dim = 28, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 28,
                                        .rope_base = 1000000.0f, .rope_scaling = RopeScaling::kFactors, .norm_epsilon = 1e-6f,
                                        .tied_embeddings = true, .window = 10,
                                        .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                                        .norm = {.placement = NormPlacement::kSandwich},
                                        .attention = {.global = LayerPattern{6}.Add(3).Add(5), .scale = 1.0f, .shared_layers = 2,
                                                      .qk_norm = QkNorm::kHead, .value_norm = true},
                                        .local = {.head_dim = 12, .kv_heads = 2, .rope_dim = 8}, .layer_input_dim = 20,
                                        .wide_layers = LayerPattern{6}.Add(4).Add(5), .wide_ffn_dim = 96, .layer_scale = true,
                                        .activation = Activation::kGelu, .embedding_scale = 8.0f, .logit_softcap = 3.0f};
// The large one: experts beside the dense network, and layers without a window whose values are their keys.
inline constexpr ModelConfig kGemmaFourExperts{.architecture = kGemma4, .dim = 64, .layers = 4, .heads = 4, .kv_heads = 2,
                                               .head_dim = 24, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 24,
                                               .rope_base = 1000000.0f, .rope_scaling = RopeScaling::kFactors,
                                               .norm_epsilon = 1e-6f, .window = 10, .experts = 6, .experts_per_token = 2,
                                               .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                                               .norm = {.placement = NormPlacement::kSandwich},
                                               .attention = {.global = LayerPattern::LastOf(4), .scale = 1.0f,
                                                             .keys_as_values = LayerPattern::LastOf(4),
                                                             .qk_norm = QkNorm::kHead, .value_norm = true},
                                               .expert = {.ffn_dim = 24, .beside_dense = true, .output_scale = true},
                                               .local = {.head_dim = 16, .kv_heads = 4, .rope_dim = 16},
                                               .activation = Activation::kGelu, .embedding_scale = 8.0f,
                                               .logit_softcap = 30.0f};
inline constexpr ModelConfig kSmol{.architecture = kSmolLm3, .dim = 48, .layers = 5, .heads = 4, .kv_heads = 2,
                                   .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 12,
                                   .tied_embeddings = true, .rope = {.unrotated = LayerPattern::LastOf(4)}};
inline constexpr ModelConfig kOlmoThree{.architecture = kOlmo2, .dim = 48, .layers = 5, .heads = 4, .kv_heads = 2,
                                        .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 12,
                                        .rope_base = 500000.0f, .rope_scale = 4.0f, .rope_scaling = RopeScaling::kYarn,
                                        .window = 10,
                                        .rope = {.original_context = 32, .local_base = 500000.0f,
                                                 .style = RopeStyle::kHalves},
                                        .norm = {.placement = NormPlacement::kPost},
                                        .attention = {.global = LayerPattern::LastOf(4), .qk_norm = QkNorm::kWidth}};
inline constexpr ModelConfig kGraniteDense{.architecture = kGranite, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                           .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 12,
                                           .attention = {.scale = 0.2f}, .embedding_scale = 6.0f, .residual_scale = 0.35f,
                                           .logit_divisor = 1.6f};
inline constexpr ModelConfig kGraniteExperts{.architecture = kGraniteMoe, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                             .head_dim = 12, .ffn_dim = 40, .vocab = 64, .context = 128, .rope_dim = 12,
                                             .experts = 4, .experts_per_token = 2, .attention = {.scale = 0.2f},
                                             .expert = {.shared_ffn_dim = 56}, .embedding_scale = 6.0f,
                                             .residual_scale = 0.35f, .logit_divisor = 1.6f};
inline constexpr ModelConfig kGpt2Small{.architecture = kGpt2, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 4,
                                        .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 0,
                                        .tied_embeddings = true, .norm = {.kind = NormKind::kLayer, .bias = true},
                                        .attention = {.qkv_bias = true, .output_bias = true},
                                        .activation = Activation::kGelu, .gated = false, .ffn_bias = true,
                                        .learned_positions = true};
inline constexpr ModelConfig kNeoX{.architecture = kGptNeoX, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 4,
                                   .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 4,
                                   .rope = {.style = RopeStyle::kHalves}, .norm = {.kind = NormKind::kLayer, .bias = true},
                                   .attention = {.qkv_bias = true, .output_bias = true}, .activation = Activation::kGelu,
                                   .gated = false, .ffn_bias = true, .parallel_residual = true};
inline constexpr ModelConfig kOss{.architecture = kGptOss, .dim = 48, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 16,
                                  .ffn_dim = 32, .vocab = 64, .context = 128, .rope_dim = 16, .rope_scale = 8.0f,
                                  .rope_scaling = RopeScaling::kYarn, .window = 10, .experts = 4, .experts_per_token = 2,
                                  .rope = {.original_context = 32, .style = RopeStyle::kHalves},
                                  .attention = {.global = LayerPattern::LastOf(2), .qkv_bias = true, .output_bias = true,
                                                .sinks = true},
                                  .expert = {.router_bias = true, .bias = true}, .activation = Activation::kClampedSilu};
inline constexpr ModelConfig kBertSmall{.architecture = kBert, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 4,
                                        .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 0,
                                        .norm_epsilon = 1e-12f,
                                        .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual,
                                                 .bias = true, .embedding = true},
                                        .attention = {.qkv_bias = true, .output_bias = true, .causal = false},
                                        .activation = Activation::kGelu, .gated = false, .ffn_bias = true,
                                        .learned_positions = true, .token_types = 2, .logits = false,
                                        .pooling = Pooling::kMean};
inline constexpr ModelConfig kNomic{.architecture = kNomicBert, .dim = 48, .layers = 2, .heads = 4, .kv_heads = 4,
                                    .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 12,
                                    .rope_base = 1000.0f, .norm_epsilon = 1e-12f, .rope = {.style = RopeStyle::kHalves},
                                    .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual, .bias = true,
                                             .embedding = true},
                                    .attention = {.causal = false}, .token_types = 2, .logits = false,
                                    .pooling = Pooling::kMean};
inline constexpr ModelConfig kNomicExperts{.architecture = kNomicBertMoe, .dim = 48, .layers = 4, .heads = 4, .kv_heads = 4,
                                           .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 12,
                                           .norm_epsilon = 1e-12f, .experts = 4, .experts_per_token = 2,
                                           .rope = {.style = RopeStyle::kHalves},
                                           .norm = {.kind = NormKind::kLayer, .placement = NormPlacement::kResidual,
                                                    .bias = true, .embedding = true},
                                           .attention = {.qkv_bias = true, .output_bias = true, .causal = false},
                                           .expert = {.step = 2, .router = Router::kSoftmaxOfAll},
                                           .activation = Activation::kGelu, .gated = false, .ffn_bias = true,
                                           .token_types = 2, .logits = false, .pooling = Pooling::kMean};
inline constexpr ModelConfig kModern{.architecture = kModernBert, .dim = 48, .layers = 4, .heads = 4, .kv_heads = 4,
                                     .head_dim = 12, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 12,
                                     .rope_base = 160000.0f, .window = 10,
                                     .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                                     .norm = {.kind = NormKind::kLayer, .embedding = true, .first_identity = true},
                                     .attention = {.global = LayerPattern::FirstOf(3),
                                                   .window_kind = WindowKind::kSymmetric, .causal = false},
                                     .activation = Activation::kGelu, .logits = false, .pooling = Pooling::kCls};
inline constexpr ModelConfig kGemmaEncoder{.architecture = kGemmaEmbedding, .dim = 64, .layers = 7, .heads = 4, .kv_heads = 2,
                                           .head_dim = 16, .ffn_dim = 80, .vocab = 64, .context = 128, .rope_dim = 16,
                                           .rope_base = 1000000.0f, .norm_epsilon = 1e-6f, .window = 10,
                                           .rope = {.local_base = 10000.0f, .style = RopeStyle::kHalves},
                                           .norm = {.placement = NormPlacement::kSandwich},
                                           .attention = {.global = LayerPattern::LastOf(6), .qk_norm = QkNorm::kHead,
                                                         .window_kind = WindowKind::kSymmetric, .causal = false},
                                           .activation = Activation::kGelu, .embedding_scale = 8.0f, .logits = false,
                                           .pooling = Pooling::kMean};

}  // namespace family

struct FamilyModel {
  const inlay::ModelConfig* config;
  MakeModel make;  // the static model: F32 weights, F32 cache
};

// Compiled in several files, as each static model takes some seconds.
std::vector<FamilyModel> FamilyModels1();
std::vector<FamilyModel> FamilyModels2();
std::vector<FamilyModel> FamilyModels3();
std::vector<FamilyModel> FamilyModels4();
std::vector<FamilyModel> FamilyModels5();

inline std::vector<FamilyModel> FamilyModels() {
  std::vector<FamilyModel> all;
  for (const auto& models : {FamilyModels1(), FamilyModels2(), FamilyModels3(), FamilyModels4(), FamilyModels5()}) {
    all.insert(all.end(), models.begin(), models.end());
  }
  return all;
}

template <const inlay::ModelConfig& kConfig>
FamilyModel FamilyModelOf() {
  using Model = inlay::Model<kConfig, inlay::Formats<inlay::WeightType::kF32>, inlay::KvTypes<inlay::KvType::kF32>>;
  return {&kConfig, TestModelOf<Model>::Make};
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_FAMILY_MODELS_HPP_
