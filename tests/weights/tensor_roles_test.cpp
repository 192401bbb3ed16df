#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace {

using inlay::ModelConfig;
using inlay::ParseTensorName;
using inlay::RopeScaling;
using inlay::TensorId;
using inlay::TensorRole;

constexpr ModelConfig kConfig{.dim = 8, .layers = 12, .heads = 4, .kv_heads = 2, .head_dim = 6, .ffn_dim = 20, .vocab = 30,
                              .context = 10, .rope_dim = 4};

ModelConfig With(auto change) {
  ModelConfig config = kConfig;
  change(config);
  return config;
}

BOOST_AUTO_TEST_SUITE(weights_tensor_roles)

BOOST_AUTO_TEST_CASE(numbers) {
  BOOST_TEST(inlay::TensorCount(kConfig) == inlay::kModelRoles + 12 * inlay::kLayerRoles);
  for (std::size_t i = 0; i < inlay::TensorCount(kConfig); ++i) BOOST_TEST(inlay::TensorIndex(inlay::TensorAt(i)) == i);
  BOOST_TEST((inlay::TensorAt(inlay::kModelRoles + 3 * inlay::kLayerRoles) == TensorId{TensorRole::kAttentionNorm, 3}));
  BOOST_TEST((inlay::TensorAt(inlay::TensorCount(kConfig) - 1) == TensorId{TensorRole::kBypassNorm, 11}));
}

// Every tensor of a configuration is found by its name, and no name means two.
BOOST_AUTO_TEST_CASE(names) {
  for (const ModelConfig& config : {kConfig, With([](auto& c) { c.tied_embeddings = true; }),
                                    With([](auto& c) { c.rope_scaling = RopeScaling::kFactors; }),
                                    With([](auto& c) { c.experts = 4; c.experts_per_token = 2; })}) {
    for (std::size_t i = 0; i < inlay::TensorCount(config); ++i) {
      const TensorId id = inlay::TensorAt(i);
      const auto found = ParseTensorName(config, inlay::TensorName(config, id).view());
      BOOST_TEST(found.has_value() == inlay::HasRole(config, id));
      if (found) BOOST_TEST((*found == id));
    }
  }
  BOOST_TEST(inlay::TensorName(kConfig, {TensorRole::kDown, 11}).view() == "blk.11.ffn_down.weight");
  BOOST_TEST(inlay::TensorName(With([](auto& c) { c.experts = 2; }), {TensorRole::kExpertDown, 0}).view() ==
             "blk.0.ffn_down_exps.weight");
  BOOST_TEST(inlay::TensorName(kConfig, {TensorRole::kTokenEmbedding}).view() == "token_embd.weight");
}

BOOST_AUTO_TEST_CASE(names_of_nothing) {
  for (const std::string_view name :
       {"", "blk", "blk.", "blk.0", "blk.0.", "blk..attn_q.weight", "blk.12.attn_q.weight", "blk.01.attn_q.weight",
        "blk.-1.attn_q.weight", "blk.1 .attn_q.weight", "blk.0.attn_q.weigh", "blk.0.attn_q.weightx", "blk.0.attn_q",
        "blk.0.attn_q.bias", "attn_q.weight", "blk.0.token_embd.weight", "blk.99999999999999999999.attn_q.weight",
        "blk.4294967296.attn_q.weight", "blk.00000.attn_q.weight", "rope_freqs.weight", "blk.0.ffn_gate_inp.weight",
        "blk.0.ffn_gate_exps.weight", "Token_embd.weight"}) {
    BOOST_TEST(!ParseTensorName(kConfig, name).has_value(), name);
  }
  const ModelConfig tied = With([](auto& c) { c.tied_embeddings = true; });
  BOOST_TEST(!ParseTensorName(tied, "output.weight").has_value());
  const ModelConfig experts = With([](auto& c) { c.experts = 4; });
  BOOST_TEST(!ParseTensorName(experts, "blk.0.ffn_gate.weight").has_value());
}

BOOST_AUTO_TEST_CASE(shapes) {
  const auto shape = [](TensorRole role, const ModelConfig& config = kConfig) { return inlay::ShapeOf(config, {role}); };
  using Shape = inlay::TensorShape;
  BOOST_TEST((shape(TensorRole::kTokenEmbedding) == Shape{30, 8}));
  BOOST_TEST((shape(TensorRole::kQuery) == Shape{24, 8}));
  BOOST_TEST((shape(TensorRole::kKey) == Shape{12, 8}));
  BOOST_TEST((shape(TensorRole::kAttentionOutput) == Shape{8, 24}));
  BOOST_TEST((shape(TensorRole::kDown) == Shape{8, 20}));
  BOOST_TEST((shape(TensorRole::kRopeFactors) == Shape{1, 2}));
  const ModelConfig experts = With([](auto& c) { c.experts = 5; });
  BOOST_TEST((shape(TensorRole::kRouter, experts) == Shape{5, 8}));
  BOOST_TEST((shape(TensorRole::kExpertUp, experts) == Shape{20, 8, 5}));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
