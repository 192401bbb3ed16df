// Models with dimensions known to the compiler whose layers keep a state or attend to latents, for the tests: the
// configurations of files that tests/model/hybrid_test.cpp makes.
#include "tests/support/test_model.hpp"

namespace inlay_test {
namespace {

using inlay::LayerPattern;
using inlay::StateKind;

constexpr inlay::ModelConfig kBase{.dim = 48, .layers = 4, .heads = 6, .kv_heads = 2, .head_dim = 8, .ffn_dim = 80,
                                   .vocab = 96, .context = 700, .rope_dim = 8, .norm_epsilon = 1e-6f};

constexpr inlay::ModelConfig kConvolution = [] {
  inlay::ModelConfig c = kBase;
  c.architecture = inlay::Architecture::kLfm2;
  c.rope_base = 1e6f;
  c.rope.style = inlay::RopeStyle::kHalves;
  c.attention.qk_norm = inlay::QkNorm::kHead;
  c.state = {.layers = LayerPattern{3}.Add(0).Add(1), .kernel = 3, .kind = StateKind::kConvolution};
  return c;
}();

constexpr inlay::ModelConfig kLatent = [] {
  inlay::ModelConfig c = kBase;
  c.architecture = inlay::Architecture::kDeepSeek2;
  c.kv_heads = 1;
  c.head_dim = 30;
  c.value_dim = 24;
  c.rope_dim = 6;
  c.experts = 8;
  c.experts_per_token = 3;
  c.attention.scale = 0.25f;
  c.expert = {.ffn_dim = 20, .shared_ffn_dim = 40, .leading_dense = 1, .groups = 4, .groups_used = 2, .scale = 1.7f,
              .router = inlay::Router::kSigmoid, .normalized = true, .selection_bias = true};
  c.latent = {.rank = 24, .query_rank = 20, .head_dim = 16, .value_dim = 12};
  return c;
}();

constexpr inlay::ModelConfig kDelta = [] {
  inlay::ModelConfig c = kBase;
  c.architecture = inlay::Architecture::kQwen3Next;
  c.rope_dim = 4;
  c.rope_base = 1e7f;
  c.rope.style = inlay::RopeStyle::kHalves;
  c.attention.qk_norm = inlay::QkNorm::kHead;
  c.attention.output_gate = true;
  c.experts = 8;
  c.experts_per_token = 3;
  c.expert = {.ffn_dim = 20, .shared_ffn_dim = 28, .shared_gate = true};
  c.state = {.layers = LayerPattern::AllButLastOf(3), .kernel = 4, .inner_dim = 72, .heads = 6, .groups = 3, .key_dim = 12,
             .kind = StateKind::kDelta};
  return c;
}();

constexpr inlay::ModelConfig kSpace = [] {
  inlay::ModelConfig c = kBase;
  c.architecture = inlay::Architecture::kGraniteHybrid;
  c.rope_dim = 0;
  c.attention.scale = 0.2f;
  c.residual_scale = 0.6f;
  c.embedding_scale = 1.5f;
  c.logit_divisor = 1.3f;
  c.state = {.layers = LayerPattern{3}.Add(0).Add(2), .kernel = 4, .inner_dim = 96, .heads = 6, .groups = 2,
             .key_dim = 10, .kind = StateKind::kSpace};
  return c;
}();

template <const inlay::ModelConfig& kConfig>
StaticModelEntry Entry() {
  using Model = inlay::Model<kConfig, inlay::Formats<inlay::WeightType::kF32>, inlay::KvTypes<inlay::KvType::kF32>>;
  return {&kConfig, {inlay::WeightType::kF32}, TestModelOf<Model>::Make, Model::Plan};
}

}  // namespace

std::vector<StaticModelEntry> StaticHybrids() { return {Entry<kConvolution>(), Entry<kLatent>(), Entry<kDelta>(), Entry<kSpace>()}; }

}  // namespace inlay_test
