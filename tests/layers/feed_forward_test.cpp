// The choice of experts; the network itself is tested as part of whole models (tests/model/oracle_test.cpp).
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "inlay/kernels/highway.hpp"
#include "inlay/layers/feed_forward-inl.hpp"

namespace {

struct Choice {
  std::vector<std::uint32_t> experts;
  std::vector<float> weights;
};

Choice Choose(std::vector<float> scores, std::size_t count, inlay::ExpertConfig expert = {},
              const std::vector<float>& bias = {}) {
  Choice choice{std::vector<std::uint32_t>(count), std::vector<float>(count)};
  inlay::ModelConfig config;
  config.experts = static_cast<std::uint32_t>(scores.size());
  config.experts_per_token = static_cast<std::uint32_t>(count);
  config.expert = expert;
  inlay::HWY_NAMESPACE::ChooseExperts(config, scores.data(), bias.empty() ? nullptr : bias.data(), choice.experts.data(),
                                      choice.weights.data());
  return choice;
}

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
bool Near(float found, double expected) { return std::abs(static_cast<double>(found) - expected) < 1e-6; }

BOOST_AUTO_TEST_SUITE(layers_feed_forward)

BOOST_AUTO_TEST_CASE(best_scores_in_order_of_index) {
  const Choice choice = Choose({0.5f, 3.0f, -1.0f, 2.0f, 0.0f}, 3);
  BOOST_TEST((choice.experts == std::vector<std::uint32_t>{0, 1, 3}));
  // The softmax of 0.5, 3 and 2.
  const double total = std::exp(-2.5) + 1.0 + std::exp(-1.0);
  BOOST_TEST(std::abs(static_cast<double>(choice.weights[0]) - std::exp(-2.5) / total) < 1e-6);
  BOOST_TEST(std::abs(static_cast<double>(choice.weights[1]) - 1.0 / total) < 1e-6);
  BOOST_TEST(std::abs(static_cast<double>(choice.weights[2]) - std::exp(-1.0) / total) < 1e-6);
}

BOOST_AUTO_TEST_CASE(ties_go_to_the_lower_index) {
  BOOST_TEST((Choose({1.0f, 1.0f, 1.0f, 1.0f}, 2).experts == std::vector<std::uint32_t>{0, 1}));
  BOOST_TEST((Choose({0.0f, 2.0f, 2.0f, 2.0f}, 2).experts == std::vector<std::uint32_t>{1, 2}));
}

BOOST_AUTO_TEST_CASE(all_or_one) {
  BOOST_TEST((Choose({1.0f, 3.0f, 2.0f}, 3).experts == std::vector<std::uint32_t>{0, 1, 2}));
  const Choice one = Choose({1.0f, 3.0f, 2.0f}, 1);
  BOOST_TEST((one.experts == std::vector<std::uint32_t>{1}));
  BOOST_TEST(one.weights[0] == 1.0f);
}

BOOST_AUTO_TEST_CASE(softmax_of_all) {
  const Choice choice = Choose({0.5f, 3.0f, -1.0f, 2.0f}, 2, {.scale = 2.0f, .router = inlay::Router::kSoftmaxOfAll});
  BOOST_TEST((choice.experts == std::vector<std::uint32_t>{1, 3}));
  const double total = std::exp(0.5) + std::exp(3.0) + std::exp(-1.0) + std::exp(2.0);
  BOOST_TEST(Near(choice.weights[0], 2.0 * std::exp(3.0) / total));
  BOOST_TEST(Near(choice.weights[1], 2.0 * std::exp(2.0) / total));
}

BOOST_AUTO_TEST_CASE(sigmoids) {
  const Choice plain = Choose({0.5f, 3.0f, -1.0f, 2.0f}, 2, {.router = inlay::Router::kSigmoid});
  BOOST_TEST((plain.experts == std::vector<std::uint32_t>{1, 3}));
  BOOST_TEST(Near(plain.weights[0], Sigmoid(3.0)));
  const Choice normalized = Choose({0.5f, 3.0f, -1.0f, 2.0f}, 2, {.router = inlay::Router::kSigmoid, .normalized = true});
  BOOST_TEST(Near(normalized.weights[1], Sigmoid(2.0) / (Sigmoid(3.0) + Sigmoid(2.0))));
  // Scores whose sigmoids are all 1 still choose.
  BOOST_TEST((Choose({40.0f, 41.0f, 42.0f}, 1, {.router = inlay::Router::kSigmoid}).experts ==
              std::vector<std::uint32_t>{2}));
}

// A bias chooses, but does not weigh.
BOOST_AUTO_TEST_CASE(selection_bias) {
  const Choice choice = Choose({0.5f, 3.0f, -1.0f, 2.0f}, 2, {.router = inlay::Router::kSigmoid}, {0.0f, -1.0f, 1.0f, 0.0f});
  BOOST_TEST((choice.experts == std::vector<std::uint32_t>{2, 3}));
  BOOST_TEST(Near(choice.weights[0], Sigmoid(-1.0)));
  BOOST_TEST(Near(choice.weights[1], Sigmoid(2.0)));
}

// Groups are compared by the sum of their two best.
BOOST_AUTO_TEST_CASE(groups) {
  const inlay::ExpertConfig expert{.groups = 3, .groups_used = 1, .router = inlay::Router::kSigmoid};
  BOOST_TEST((Choose({5.0f, -5.0f, -9.0f, 1.0f, 1.0f, -9.0f, 0.0f, 0.0f, 2.0f}, 2, expert).experts ==
              std::vector<std::uint32_t>{3, 4}));
  inlay::ExpertConfig two = expert;
  two.groups_used = 2;
  BOOST_TEST((Choose({5.0f, -5.0f, -9.0f, 1.0f, 1.0f, -9.0f, 0.0f, 0.0f, 2.0f}, 2, two).experts ==
              std::vector<std::uint32_t>{3, 8}));
}

// Scores that are no numbers still choose that many different experts: the logits will say that something is wrong.
BOOST_AUTO_TEST_CASE(scores_that_are_not_finite) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& scores :
       {std::vector<float>{kNan, kNan, kNan}, {1.0f, kNan, 2.0f}, {kInfinity, kInfinity, kInfinity}, {-kInfinity, -kInfinity, kNan}}) {
    const Choice choice = Choose(scores, 2);
    BOOST_TEST(choice.experts[0] < choice.experts[1]);
    BOOST_TEST(choice.experts[1] < 3u);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
