// Every step of the chain against an oracle that sorts everything in double precision.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/generate/sampler.hpp"
#include "tests/support/allocation_counter.hpp"

namespace {

using inlay::ErrorCode;
using inlay::Sampler;
using inlay::SamplerOptions;
using inlay::TokenId;

// A sampler with memory of exactly the planned size.
class Owned {
 public:
  Owned(const SamplerOptions& options, std::size_t vocab)
      : memory_(std::move(*inlay::OwnedBuffer::Create(Sampler::MemoryBytes(options, vocab)))) {
    auto arena = *inlay::Arena::Create(memory_.bytes());
    auto sampler = Sampler::Create(options, vocab, arena);
    BOOST_REQUIRE(sampler);
    BOOST_TEST(arena.remaining() == 0u);
    sampler_.emplace(*sampler);
  }
  Sampler& operator*() { return *sampler_; }
  Sampler* operator->() { return &*sampler_; }

 private:
  inlay::OwnedBuffer memory_;
  std::optional<Sampler> sampler_;
};

std::vector<float> RandomLogits(std::size_t count, std::uint64_t seed, double spread) {
  inlay::Pcg32 random(seed);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>((random.NextUnit() - 0.5) * spread);
  return logits;
}

// The probability of each token that is possible at all.
std::map<TokenId, double> Oracle(const std::vector<float>& logits, const SamplerOptions& options,
                                 const std::vector<TokenId>& window = {}) {
  std::vector<std::pair<double, TokenId>> tokens;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    double logit = logits[i];
    const auto count = std::count(window.begin(), window.end(), static_cast<TokenId>(i));
    if (count != 0) {
      const double repetition = options.repetition_penalty;
      logit = logit > 0 ? logit / repetition : logit * repetition;
      logit -= static_cast<double>(count) * static_cast<double>(options.frequency_penalty) +
               static_cast<double>(options.presence_penalty);
    }
    tokens.emplace_back(logit, static_cast<TokenId>(i));
  }
  std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  if (options.top_k != 0 && options.top_k < tokens.size()) tokens.resize(options.top_k);
  const double largest = tokens.front().first;
  double total = 0;
  for (const auto& token : tokens) total += std::exp(token.first - largest);
  if (options.top_p < 1) {
    double mass = 0;
    std::size_t kept = 0;
    while (kept < tokens.size() && mass < static_cast<double>(options.top_p)) {
      mass += std::exp(tokens[kept++].first - largest) / total;
    }
    tokens.resize(kept);
  }
  std::erase_if(
      tokens, [&](const auto& token) { return std::exp(token.first - largest) < static_cast<double>(options.min_p); });
  std::map<TokenId, double> chances;
  total = 0;
  for (const auto& token : tokens) {
    total += chances[token.second] = std::exp((token.first - largest) / static_cast<double>(options.temperature));
  }
  for (auto& chance : chances) chance.second /= total;
  return chances;
}

// Draws and compares: no impossible token may come, and the counts must fit the chances (chi-square, five standard
// deviations above the mean; the seed is fixed, so this is no gamble).
void CheckDistribution(const std::vector<float>& logits, const SamplerOptions& options,
                       const std::vector<TokenId>& window = {}) {
  Owned sampler(options, logits.size());
  for (const TokenId token : window) sampler->Accept(token);
  std::vector<TokenId> seen = window;
  if (seen.size() > options.penalty_window) {
    seen.erase(seen.begin(), seen.end() - static_cast<std::ptrdiff_t>(options.penalty_window));
  }
  const auto chances = Oracle(logits, options, seen);
  constexpr int kDraws = 20000;
  std::map<TokenId, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler->Sample(logits).value_or(-1)];
  for (const auto& [token, count] : counts) BOOST_TEST(chances.contains(token), "token " << token << " " << count);
  double chi_square = 0, rest = 0, rest_count = 0;
  int bins = 0;
  const auto add = [&](double expected, double count) {
    chi_square += (count - expected) * (count - expected) / expected;
    ++bins;
  };
  for (const auto& [token, chance] : chances) {
    const double expected = chance * kDraws;
    const double count = counts.contains(token) ? counts[token] : 0;
    if (expected >= 10) {
      add(expected, count);
    } else {
      rest += expected;
      rest_count += count;
    }
  }
  if (rest > 1e-9) add(rest + 1e-9, rest_count);
  BOOST_TEST(chi_square < bins + 5 * std::sqrt(2.0 * bins), bins << " bins, chi-square " << chi_square);
}

ErrorCode CodeOf(const SamplerOptions& options) {
  const auto result = options.Validate();
  BOOST_REQUIRE(!result);
  return result.error().code;
}
std::string FieldOf(const SamplerOptions& options) { return std::string(options.Validate().error().field.view()); }

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

BOOST_AUTO_TEST_SUITE(generate_sampler)

BOOST_AUTO_TEST_CASE(GreedyTakesTheLowestOfTheLargest) {
  for (const std::size_t vocab : {1u, 2u, 31u, 32u, 33u, 64u, 257u}) {
    for (std::size_t best = 0; best < vocab; ++best) {
      std::vector<float> logits = RandomLogits(vocab, best, 10);
      logits[best] = 6;
      logits.back() = best + 1 == vocab ? 6.0f : 5.99f;
      if (best + 2 < vocab) logits[best + 1] = 6;  // an equal one that comes later
      Owned sampler(SamplerOptions{}, vocab);
      BOOST_TEST(sampler->Sample(logits).value_or(-1) == static_cast<TokenId>(best));
    }
  }
  Owned sampler(SamplerOptions{}, 4);
  BOOST_TEST(sampler->Sample(std::vector<float>{-3, -1, -2, -1}).value_or(-1) == 1);
  BOOST_TEST(sampler->Sample(std::vector<float>{-1, -0.0f, 0.0f, -2}).value_or(-1) == 1);
  BOOST_TEST(sampler->Sample(std::vector<float>{-1, 0.0f, -0.0f, -2}).value_or(-1) == 1);
}

// Without a list of candidates a draw is a quantile: the first token up to which the chances add up to more than the random
// number. Compared draw by draw, which sees a temperature that is wrong by a thousandth; draws closer to a boundary than
// the chances are rounded are left out.
BOOST_AUTO_TEST_CASE(DrawsAreQuantilesOfTheirRandomNumbers) {
  for (const float temperature : {0.5f, 1.0f, 1.7f}) {
    const SamplerOptions options{.temperature = temperature, .seed = 5};
    const std::vector<float> logits = RandomLogits(700, 3, 8);
    const auto chances = Oracle(logits, options);
    Owned sampler(options, logits.size());
    inlay::Pcg32 random(options.seed);
    int compared = 0, wrong = 0;
    for (int draw = 0; draw < 5000; ++draw) {
      const double number = random.NextUnit();
      double below = 0;
      auto token = chances.begin();
      while (below + token->second <= number) below += (token++)->second;
      const TokenId drawn = sampler->Sample(logits).value_or(-1);
      if (number - below < 1e-5 || below + token->second - number < 1e-5) continue;
      ++compared;
      wrong += drawn != token->first;
    }
    BOOST_TEST(wrong == 0);
    BOOST_TEST(compared > 4500);
  }
}

BOOST_AUTO_TEST_CASE(NonFiniteLogitsAreErrors) {
  const SamplerOptions all[] = {
      {}, {.temperature = 1}, {.temperature = 1, .top_k = 3}, {.temperature = 1, .top_p = 0.5f}};
  for (const SamplerOptions& options : all) {
    for (const std::size_t vocab : {5u, 32u, 100u}) {
      Owned sampler(options, vocab);
      for (const float bad : {kNan, -kNan, kInfinity, -kInfinity}) {
        for (std::size_t at = 0; at < vocab; ++at) {
          std::vector<float> logits = RandomLogits(vocab, at, 4);
          logits[at] = bad;
          const auto result = sampler->Sample(logits);
          BOOST_REQUIRE(!result);
          BOOST_TEST((result.error().code == ErrorCode::kNonFinite));
          BOOST_TEST(result.error().detail.view().find("token " + std::to_string(at) + " ") != std::string::npos);
        }
      }
      const float most = std::numeric_limits<float>::max();
      std::vector<float> logits(vocab, -most);
      logits[2] = most;
      BOOST_TEST(sampler->Sample(logits).value_or(-1) == 2);
    }
  }
}

BOOST_AUTO_TEST_CASE(LogitsMustFitTheVocabulary) {
  Owned sampler(SamplerOptions{}, 10);
  const auto result = sampler->Sample(std::vector<float>(9));
  BOOST_REQUIRE(!result);
  BOOST_TEST((result.error().code == ErrorCode::kMismatch));
}

BOOST_AUTO_TEST_CASE(OptionsAreChecked) {
  const std::pair<SamplerOptions, std::string> bad[] = {
      {{.temperature = -1}, "temperature"},
      {{.temperature = kNan}, "temperature"},
      {{.temperature = kInfinity}, "temperature"},
      {{.top_p = 0}, "top_p"},
      {{.top_p = 1.01f}, "top_p"},
      {{.top_p = kNan}, "top_p"},
      {{.min_p = -0.1f}, "min_p"},
      {{.min_p = 1.1f}, "min_p"},
      {{.repetition_penalty = 0}, "repetition_penalty"},
      {{.repetition_penalty = -1}, "repetition_penalty"},
      {{.repetition_penalty = kInfinity}, "repetition_penalty"},
      {{.frequency_penalty = kNan}, "frequency_penalty"},
      {{.presence_penalty = 1e30f}, "presence_penalty"},
      {{.presence_penalty = 1, .penalty_window = 0}, "penalty_window"},
  };
  for (const auto& [options, field] : bad) {
    BOOST_TEST((CodeOf(options) == ErrorCode::kInvalidArgument));
    BOOST_TEST(FieldOf(options) == field);
  }
  BOOST_TEST(SamplerOptions{}.Validate().has_value());
  BOOST_TEST((SamplerOptions{.penalty_window = 0}.Validate().has_value()));

  alignas(64) std::byte memory[64];
  auto arena = *inlay::Arena::Create(memory);
  BOOST_TEST((Sampler::Create({}, 0, arena).error().code == ErrorCode::kInvalidArgument));
  BOOST_TEST((Sampler::Create({}, std::size_t{1} << 31, arena).error().code == ErrorCode::kInvalidArgument));
  BOOST_TEST((Sampler::Create({.temperature = 1, .top_k = 100}, 200, arena).error().code == ErrorCode::kOutOfMemory));
  BOOST_TEST((Sampler::Create({.min_p = 2}, 10, arena).error().field.view() == "min_p"));
}

BOOST_AUTO_TEST_CASE(ExponentialIsAccurate) {
  for (double x = 0; x > -87; x -= 0.000731) {
    const float argument = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(argument));
    BOOST_REQUIRE_SMALL(inlay::detail::ExpOfNegative(argument) / exact - 1, 5e-7);
  }
  BOOST_TEST(inlay::detail::ExpOfNegative(0.0f) == 1.0f);
  BOOST_TEST(inlay::detail::ExpOfNegative(-0.0f) == 1.0f);
  for (const float far : {-87.5f, -1000.0f, -std::numeric_limits<float>::max(), -kInfinity}) {
    BOOST_TEST(inlay::detail::ExpOfNegative(far) < 2e-38f);
    BOOST_TEST(inlay::detail::ExpOfNegative(far) > 0.0f);
  }
}

BOOST_AUTO_TEST_CASE(PlainSampling) {
  for (const std::size_t vocab : {1u, 7u, 511u, 512u, 513u, 1500u}) {
    CheckDistribution(RandomLogits(vocab, vocab, 6), {.temperature = 1, .seed = vocab});
    CheckDistribution(RandomLogits(vocab, vocab, 6), {.temperature = 0.3f, .seed = vocab});
    CheckDistribution(RandomLogits(vocab, vocab, 6), {.temperature = 5, .seed = vocab});
  }
}

BOOST_AUTO_TEST_CASE(TopK) {
  for (const std::size_t k : {1u, 2u, 5u, 39u, 40u, 41u, 1000u}) {
    CheckDistribution(RandomLogits(40, k, 4), {.temperature = 0.8f, .top_k = k, .seed = k});
  }
  // Among equal logits the lower ids are kept.
  CheckDistribution(std::vector<float>(100, 1.5f), {.temperature = 1, .top_k = 7});
  std::vector<float> ascending(300), descending(300);
  for (std::size_t i = 0; i < 300; ++i) ascending[i] = descending[299 - i] = static_cast<float>(i) * 0.01f;
  CheckDistribution(ascending, {.temperature = 1, .top_k = 20});
  CheckDistribution(descending, {.temperature = 1, .top_k = 20});
}

BOOST_AUTO_TEST_CASE(TopP) {
  for (const float p : {0.001f, 0.1f, 0.5f, 0.9f, 0.99f, 0.999999f}) {
    CheckDistribution(RandomLogits(50, 3, 8), {.temperature = 1, .top_p = p});
    CheckDistribution(RandomLogits(50, 3, 8), {.temperature = 2, .top_p = p});
    CheckDistribution(RandomLogits(50, 3, 8), {.temperature = 0.7f, .top_k = 12, .top_p = p});
    CheckDistribution(RandomLogits(1500, 3, 14), {.temperature = 1, .top_p = p});
  }
  CheckDistribution(std::vector<float>(10, 0.0f), {.temperature = 1, .top_p = 0.45f});  // five equal ones
}

BOOST_AUTO_TEST_CASE(MinP) {
  for (const float p : {0.01f, 0.1f, 0.5f, 0.9f, 1.0f}) {
    CheckDistribution(RandomLogits(50, 4, 6), {.temperature = 1, .min_p = p});
    CheckDistribution(RandomLogits(50, 4, 6), {.temperature = 3, .min_p = p});
    CheckDistribution(RandomLogits(50, 4, 6), {.temperature = 1, .top_k = 9, .min_p = p});
    CheckDistribution(RandomLogits(50, 4, 6), {.temperature = 1, .top_p = 0.7f, .min_p = p});
    CheckDistribution(RandomLogits(50, 4, 6), {.temperature = 1, .top_k = 20, .top_p = 0.8f, .min_p = p});
  }
}

BOOST_AUTO_TEST_CASE(Penalties) {
  const std::vector<float> logits = RandomLogits(30, 5, 4);
  const std::vector<TokenId> window = {1, 2, 3, 3, 3, 29, 0, 7};
  CheckDistribution(logits, {.temperature = 1, .repetition_penalty = 1.5f}, window);
  CheckDistribution(logits, {.temperature = 1, .repetition_penalty = 0.6f}, window);
  CheckDistribution(logits, {.temperature = 1, .frequency_penalty = 0.5f}, window);
  CheckDistribution(logits, {.temperature = 1, .presence_penalty = 1.25f}, window);
  CheckDistribution(logits,
                    {.temperature = 0.9f,
                     .top_k = 10,
                     .repetition_penalty = 1.2f,
                     .frequency_penalty = -0.3f,
                     .presence_penalty = 0.4f},
                    window);
  // Only the last tokens count.
  for (const std::size_t size : {1u, 2u, 4u, 7u, 8u, 9u}) {
    CheckDistribution(logits, {.temperature = 1, .frequency_penalty = 0.7f, .penalty_window = size}, window);
  }
}

BOOST_AUTO_TEST_CASE(PenaltiesSteerGreedy) {
  Owned sampler({.presence_penalty = 2, .penalty_window = 2}, 3);
  const std::vector<float> logits = {3, 2, 1.5f};
  std::vector<TokenId> tokens;
  for (int i = 0; i < 7; ++i) {
    tokens.push_back(sampler->Sample(logits).value_or(-1));
    sampler->Accept(tokens.back());
  }
  // Each is out for two steps.
  BOOST_TEST(tokens == (std::vector<TokenId>{0, 1, 2, 0, 1, 2, 0}), boost::test_tools::per_element());
  sampler->Accept(-1);
  sampler->Accept(3);
  BOOST_TEST(sampler->Sample(logits).value_or(-1) == 1);
  sampler->Reset(0);
  BOOST_TEST(sampler->Sample(logits).value_or(-1) == 0);
  // A penalty that leaves the floats' range stays in order.
  Owned strong({.repetition_penalty = 1000}, 3);
  strong->Accept(1);
  const float most = std::numeric_limits<float>::max();
  BOOST_TEST(strong->Sample(std::vector<float>{-most, -most, -1}).value_or(-1) == 2);
  Owned weak({.temperature = 1, .repetition_penalty = 0.001f}, 3);
  weak->Accept(1);
  for (int i = 0; i < 20; ++i) BOOST_TEST(weak->Sample(std::vector<float>{0, most, -1}).value_or(-1) == 1);
}

BOOST_AUTO_TEST_CASE(TinyTemperaturesAreGreedy) {
  for (const float temperature : {1e-6f, 1e-37f, std::numeric_limits<float>::denorm_min()}) {
    for (const std::size_t k : {0u, 5u}) {
      Owned sampler({.temperature = temperature, .top_k = k}, 50);
      const std::vector<float> logits = RandomLogits(50, 6, 100);
      const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
      for (int i = 0; i < 100; ++i) BOOST_TEST(sampler->Sample(logits).value_or(-1) == best);
    }
  }
}

BOOST_AUTO_TEST_CASE(SeedsDecide) {
  const std::vector<float> logits = RandomLogits(1000, 1, 2);
  const auto draw = [&](Sampler& sampler) {
    std::vector<TokenId> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.Sample(logits).value_or(-1));
    return tokens;
  };
  Owned a({.temperature = 1, .seed = 5}, 1000), b({.temperature = 1, .seed = 5}, 1000),
      c({.temperature = 1, .seed = 6}, 1000);
  const auto first = draw(*a);
  BOOST_TEST(first == draw(*b), boost::test_tools::per_element());
  BOOST_TEST((first != draw(*c)));
  BOOST_TEST((first != draw(*a)));
  a->Reset(5);
  BOOST_TEST(first == draw(*a), boost::test_tools::per_element());
  // One draw per token, whatever the filters do: the sequence can be saved and resumed.
  const std::uint64_t state = a->random().state();
  const auto next = draw(*a);
  a->random().set_state(state);
  BOOST_TEST(next == draw(*a), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(NothingIsAllocatedWhileSampling) {
  const std::vector<float> logits = RandomLogits(4000, 1, 10);
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.temperature = 1},
        SamplerOptions{.temperature = 1, .top_k = 40, .top_p = 0.9f},
        SamplerOptions{.temperature = 1, .top_p = 0.9f, .min_p = 0.01f, .repetition_penalty = 1.1f}}) {
    Owned sampler(options, logits.size());
    bool fine = true;
    const inlay_test::AllocationScope scope;
    for (int i = 0; i < 20; ++i) {
      const auto token = sampler->Sample(logits);
      fine = fine && token;
      sampler->Accept(token.value_or(0));
    }
    const auto counts = scope.counts();
    BOOST_TEST(fine);
    BOOST_TEST(counts.allocations == 0u);
  }
}

BOOST_AUTO_TEST_SUITE_END()
