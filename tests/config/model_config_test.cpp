#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "inlay/config/known_models.hpp"
#include "inlay/config/model_config.hpp"

namespace {

using inlay::ModelConfig;

// The field that Validate names, or "" when it accepts.
std::string BrokenField(const std::function<void(ModelConfig&)>& change) {
  ModelConfig config = inlay::kTinyLlama1_1B;
  change(config);
  const auto status = inlay::Validate(config);
  if (status.has_value()) return "";
  BOOST_TEST((status.error().code == inlay::ErrorCode::kMismatch));
  BOOST_TEST(!status.error().detail.empty());
  return std::string(status.error().field.view());
}

struct Bounds {
  const char* field;
  std::uint32_t ModelConfig::*member;
  std::uint32_t least;
  std::uint32_t most;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(config_model_config)

BOOST_AUTO_TEST_CASE(BoundsOfEveryDimension) {
  const std::vector<Bounds> all = {
      {"dim", &ModelConfig::dim, 1, 1u << 22},         {"layers", &ModelConfig::layers, 1, 4096},
      {"ffn_dim", &ModelConfig::ffn_dim, 1, 1u << 22}, {"vocab", &ModelConfig::vocab, 1, 1u << 22},
      {"context", &ModelConfig::context, 1, 1u << 28}, {"head_dim", &ModelConfig::head_dim, 64, 640},
      {"heads", &ModelConfig::heads, 4, 4096},         {"rope_dim", &ModelConfig::rope_dim, 0, 64},
  };
  for (const Bounds& bounds : all) {
    const auto set = [&](std::uint32_t value) {
      return BrokenField([&](ModelConfig& config) { config.*bounds.member = value; });
    };
    BOOST_TEST(set(bounds.least) == "", bounds.field << " at its least");
    BOOST_TEST(set(bounds.most) == "", bounds.field << " at its most");
    BOOST_TEST(set(bounds.most + 1) == bounds.field);
    BOOST_TEST(set(std::numeric_limits<std::uint32_t>::max()) == bounds.field);
    if (bounds.least == 1) BOOST_TEST(set(0) == bounds.field);
  }
}

BOOST_AUTO_TEST_CASE(HeadsAndGroups) {
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.heads = 0; }) == "heads");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.kv_heads = 0; }) == "kv_heads");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.kv_heads = 33; }) == "kv_heads");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.kv_heads = 3; }) == "kv_heads");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.kv_heads = 32; }) == "");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.head_dim = 0; }) == "head_dim");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.head_dim = 65; }) == "head_dim");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.rope_dim = 63; }) == "rope_dim");
}

BOOST_AUTO_TEST_CASE(FloatsRefuseNanInfinityAndNonsense) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float value : {nan, infinity, -infinity, 0.0f, -1.0f, 0.5f, 1e13f}) {
    BOOST_TEST(BrokenField([&](ModelConfig& c) { c.rope_base = value; }) == "rope_base");
  }
  for (const float value : {nan, infinity, -infinity, 0.0f, -1.0f, 9e-4f, 2e6f}) {
    BOOST_TEST(BrokenField([&](ModelConfig& c) { c.rope_scale = value; }) == "rope_scale");
  }
  for (const float value : {nan, infinity, -infinity, -1e-6f, 1.1f}) {
    BOOST_TEST(BrokenField([&](ModelConfig& c) { c.norm_epsilon = value; }) == "norm_epsilon");
  }
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.norm_epsilon = 0.0f; }) == "");
  BOOST_TEST(BrokenField([](ModelConfig& c) { c.rope_base = 1.0f; }) == "");
}

BOOST_AUTO_TEST_CASE(Experts) {
  const auto broken = [](std::uint32_t experts, std::uint32_t used) {
    return BrokenField([&](ModelConfig& c) {
      c.experts = experts;
      c.experts_per_token = used;
    });
  };
  BOOST_TEST(broken(8, 2) == "");
  BOOST_TEST(broken(8, 8) == "");
  BOOST_TEST(broken(1024, 1) == "");
  BOOST_TEST(broken(1025, 1) == "experts");
  BOOST_TEST(broken(8, 0) == "experts_per_token");
  BOOST_TEST(broken(8, 9) == "experts_per_token");
  BOOST_TEST(broken(0, 1) == "experts_per_token");
}

// Features that contradict each other or are out of range, each by its name.
BOOST_AUTO_TEST_CASE(Features) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  struct Case {
    const char* field;
    std::function<void(ModelConfig&)> change;
  };
  const auto with_experts = [](auto change) {
    return [change](ModelConfig& c) {
      c.experts = 8;
      c.experts_per_token = 2;
      change(c.expert);
    };
  };
  const std::vector<Case> cases = {
      {"value_dim", [](auto& c) { c.value_dim = 513; }},
      {"value_dim", [](auto& c) { c.value_dim = 7; }},
      {"window", [](auto& c) { c.window = 0xFFFFFFFFu; }},
      {"rope.unrotated", [](auto& c) { c.rope.unrotated.period = 129; }},
      {"rope.original_context", [](auto& c) { c.rope_scaling = inlay::RopeScaling::kYarn; }},
      {"rope.original_context", [](auto& c) { c.rope_scaling = inlay::RopeScaling::kLongRope; }},
      {"rope.beta_fast", [](auto& c) { c.rope.beta_fast = 0.0f; }},
      {"rope.beta_slow", [=](auto& c) { c.rope.beta_slow = kNan; }},
      {"rope.log_multiplier", [=](auto& c) { c.rope.log_multiplier = kInfinity; }},
      {"rope.attention_factor", [](auto& c) { c.rope.attention_factor = -1.0f; }},
      {"rope.local_base", [](auto& c) { c.rope.local_base = 0.5f; }},
      {"attention.global", [](auto& c) { c.attention.global.period = 200; }},
      {"attention.window_kind", [](auto& c) { c.window = 4; c.attention.window_kind = inlay::WindowKind::kSymmetric; }},
      {"attention.window_kind", [](auto& c) { c.window = 4; c.attention.causal = false; }},
      {"attention.scale", [=](auto& c) { c.attention.scale = kNan; }},
      {"attention.softcap", [](auto& c) { c.attention.softcap = -5.0f; }},
      {"attention.temperature", [=](auto& c) { c.attention.temperature = kInfinity; }},
      {"attention.temperature_offset", [](auto& c) { c.attention.temperature_offset = -1.0f; }},
      {"attention.temperature_length", [](auto& c) { c.attention.temperature = 0.1f; }},
      {"norm.bias", [](auto& c) { c.norm.bias = true; }},
      {"expert.ffn_dim", with_experts([](auto& e) { e.ffn_dim = 1u << 23; })},
      {"expert.shared_ffn_dim", with_experts([](auto& e) { e.shared_ffn_dim = 1u << 23; })},
      {"expert.leading_dense", with_experts([](auto& e) { e.leading_dense = 4097; })},
      {"expert.step", with_experts([](auto& e) { e.step = 0; })},
      {"expert.groups", with_experts([](auto& e) { e.groups = 3; })},
      {"expert.groups", with_experts([](auto& e) { e.groups = 8; })},
      {"expert.groups_used", with_experts([](auto& e) { e.groups = 4; })},
      {"expert.groups_used", with_experts([](auto& e) { e.groups = 4; e.groups_used = 5; })},
      {"expert.scale", with_experts([=](auto& e) { e.scale = kNan; })},
      {"activation", [](auto& c) { c.activation = inlay::Activation::kClampedSilu; c.gated = false; }},
      {"parallel_residual", [](auto& c) { c.parallel_residual = true; c.norm.placement = inlay::NormPlacement::kPost; }},
      {"parallel_residual", [](auto& c) { c.parallel_residual = true; c.residual_scale = 0.5f; }},
      {"token_types", [](auto& c) { c.token_types = 0xFFFFFFFFu; }},
      {"embedding_scale", [=](auto& c) { c.embedding_scale = kNan; }},
      {"residual_scale", [=](auto& c) { c.residual_scale = kInfinity; }},
      {"residual_scale", [](auto& c) { c.residual_scale = 0.5f; c.norm.placement = inlay::NormPlacement::kResidual; }},
      {"logit_divisor", [](auto& c) { c.logit_divisor = 0.0f; }},
      {"logit_softcap", [=](auto& c) { c.logit_softcap = kNan; }},
      {"tied_embeddings", [](auto& c) { c.logits = false; c.tied_embeddings = true; }},
      {"output_bias", [](auto& c) { c.logits = false; c.output_bias = true; }},
  };
  for (const Case& test : cases) BOOST_TEST(BrokenField(test.change) == test.field, test.field);
}

BOOST_AUTO_TEST_CASE(AnEmptyConfigurationIsRefused) {
  constexpr auto kStatus = inlay::Validate(ModelConfig{});
  static_assert(!kStatus.has_value());
  BOOST_TEST(kStatus.error().Message().view() == "mismatch: dim: must be 1 .. 2^22");
}

BOOST_AUTO_TEST_CASE(DerivedDimensions) {
  static_assert(inlay::kTinyLlama1_1B.q_dim() == 2048);
  static_assert(inlay::kTinyLlama1_1B.k_dim() == 256);
  static_assert(inlay::kTinyLlama1_1B.group() == 8);
  BOOST_TEST(inlay::kSmolLM2_135M.q_dim() == 576u);
  // The product is taken in std::size_t: the largest dimensions do not wrap.
  BOOST_TEST((ModelConfig{.heads = 4096, .head_dim = 512}.q_dim()) == 2097152u);
}

BOOST_AUTO_TEST_SUITE_END()
