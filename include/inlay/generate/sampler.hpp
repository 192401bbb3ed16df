// From logits to a token: penalties, top-k, top-p, min-p, temperature and the draw, over memory that the caller gives.
#ifndef INLAY_GENERATE_SAMPLER_HPP_
#define INLAY_GENERATE_SAMPLER_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/generate/random.hpp"

INLAY_BEGIN_NAMESPACE

// How the next token is chosen. The defaults are greedy. The steps run in this order, each on what the one before left:
// penalties, top-k, top-p, min-p, temperature, draw (top-p and min-p see the probabilities before the temperature).
struct SamplerOptions {
  // Divides the logits; above 1 flatter, below 1 sharper. 0: no chance, the token with the largest logit is taken (the
  // lowest id among equals), and top-k, top-p, min-p and the seed mean nothing.
  float temperature = 0.0f;
  // Only the k tokens with the largest logits (the lower ids among equals); 0: all.
  std::size_t top_k = 0;
  // Only the smallest set of most likely tokens whose probabilities add up to this; 1: all. (Holtzman et al., "The
  // Curious Case of Neural Text Degeneration", 2019.)
  float top_p = 1.0f;
  // Only tokens at least this share as likely as the likeliest; 0: all. (Nguyen et al., "Turning Up the Heat: Min-p
  // Sampling", 2024.)
  float min_p = 0.0f;
  // Tokens in the window: a positive logit is divided by this, another one multiplied; 1: off. (Keskar et al., "CTRL",
  // 2019.)
  float repetition_penalty = 1.0f;
  // Tokens in the window: lowers the logit by this for each occurrence; 0: off.
  float frequency_penalty = 0.0f;
  // Tokens in the window: lowers the logit by this once; 0: off.
  float presence_penalty = 0.0f;
  // The window: how many of the last accepted tokens the penalties look at.
  std::size_t penalty_window = 64;
  // Starts the sequence of random numbers (Pcg32): equal seeds and equal logits give equal tokens.
  std::uint64_t seed = 0;

  constexpr bool penalizes() const {
    return repetition_penalty != 1.0f || frequency_penalty != 0.0f || presence_penalty != 0.0f;
  }

  // kInvalidArgument naming the first option that is out of its range.
  constexpr Result<void> Validate() const;
};

namespace detail {

constexpr bool IsFinite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

// Integers in the order of the floats they stand for; both zeros are one. Comparing integers keeps its meaning under
// -ffast-math, and compilers vectorise a maximum of integers but not one of floats.
constexpr std::int32_t OrderedBits(float value) {
  const std::int32_t bits = std::bit_cast<std::int32_t>(value);
  const std::int32_t magnitude = bits & 0x7FFFFFFF;
  return bits < 0 ? -magnitude : magnitude;
}

// e^x for x <= 0, relative error below 5e-7; all below -87 is e^-87 (1.6e-38). Own arithmetic, because libraries differ
// in the last bits, and without a branch or a comparison of floats (which may trap), so that loops over a vocabulary
// vectorise. Cody and Waite's reduction, then the Taylor polynomial of degree 6.
inline float ExpOfNegative(float x) {
  // Among negative floats the bits, taken as an unsigned number, grow with the magnitude.
  constexpr std::uint32_t kLeast = std::bit_cast<std::uint32_t>(-87.0f);
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const float clamped = std::bit_cast<float>(bits < kLeast ? bits : kLeast);
  const std::int32_t exponent = static_cast<std::int32_t>(clamped * 1.44269504f - 0.5f);
  const float n = static_cast<float>(exponent);
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((exponent + 127) << 23);
}

}  // namespace detail

constexpr Result<void> SamplerOptions::Validate() const {
  const auto in_range = [](float value, float low, float high) {
    return detail::IsFinite(value) && value >= low && value <= high;
  };
  if (!in_range(temperature, 0.0f, 1e6f)) {
    return Fail(ErrorCode::kInvalidArgument, "temperature", "must be 0 (greedy) or a positive number up to 1000000");
  }
  if (!in_range(top_p, 0.0f, 1.0f) || top_p == 0.0f) {
    return Fail(ErrorCode::kInvalidArgument, "top_p", "must be above 0 and at most 1 (off)");
  }
  if (!in_range(min_p, 0.0f, 1.0f)) {
    return Fail(ErrorCode::kInvalidArgument, "min_p", "must be from 0 (off) to 1");
  }
  if (!in_range(repetition_penalty, 0.0f, 1000.0f) || repetition_penalty == 0.0f) {
    return Fail(ErrorCode::kInvalidArgument, "repetition_penalty", "must be above 0 and at most 1000; 1 is off");
  }
  if (!in_range(frequency_penalty, -1000.0f, 1000.0f)) {
    return Fail(ErrorCode::kInvalidArgument, "frequency_penalty", "must be from -1000 to 1000; 0 is off");
  }
  if (!in_range(presence_penalty, -1000.0f, 1000.0f)) {
    return Fail(ErrorCode::kInvalidArgument, "presence_penalty", "must be from -1000 to 1000; 0 is off");
  }
  if (penalizes() && penalty_window == 0) {
    return Fail(ErrorCode::kInvalidArgument, "penalty_window", "must not be 0 when a penalty is set");
  }
  return {};
}

// Chooses tokens for one sequence. All memory is taken from the arena in Create; Sample and Accept allocate nothing.
// Movable and copyable as a view of that memory (copies share it: make one sampler for each sequence).
class Sampler {
 public:
  // The arena bytes that Create takes.
  static constexpr std::size_t MemoryBytes(const SamplerOptions& options, std::size_t vocab) {
    std::size_t bytes = ArenaBytes<Candidate>(CandidateCount(options, vocab));
    if (options.penalizes()) {
      bytes +=
          ArenaBytes<float>(vocab) + ArenaBytes<std::uint32_t>(vocab) + ArenaBytes<TokenId>(options.penalty_window);
    }
    return bytes;
  }

  // kInvalidArgument: an option is out of range (named), or `vocab` is 0 or more than token ids can number.
  // kOutOfMemory: the arena has less than MemoryBytes.
  INLAY_COLD static Result<Sampler> Create(const SamplerOptions& options, std::size_t vocab, Arena& arena) {
    INLAY_CHECK_OK(options.Validate());
    if (vocab == 0 || vocab > static_cast<std::size_t>(std::numeric_limits<TokenId>::max())) {
      return Fail(ErrorCode::kInvalidArgument, "vocab", "must be from 1 to 2147483647");
    }
    Sampler sampler(options, vocab);
    INLAY_ASSIGN_OR_RETURN(sampler.candidates_,
                           arena.Allocate<Candidate>(CandidateCount(options, vocab), "sampler candidates"));
    if (options.penalizes()) {
      INLAY_ASSIGN_OR_RETURN(sampler.penalized_, arena.Allocate<float>(vocab, "sampler logits"));
      INLAY_ASSIGN_OR_RETURN(sampler.counts_, arena.Allocate<std::uint32_t>(vocab, "sampler counts"));
      INLAY_ASSIGN_OR_RETURN(sampler.window_, arena.Allocate<TokenId>(options.penalty_window, "penalty window"));
    }
    sampler.Reset(options.seed);
    return sampler;
  }

  // Forgets the window and starts the random sequence of `seed`.
  void Reset(std::uint64_t seed) {
    random_ = Pcg32(seed);
    std::fill(counts_.begin(), counts_.end(), 0u);
    window_size_ = 0;
    window_next_ = 0;
  }

  // The next token for `logits` (one per token of the vocabulary, in id order; not changed). Does not add it to the
  // window: call Accept for every token that enters the sequence, those of the prompt included.
  // kMismatch: not as many logits as tokens. kNonFinite: a logit is NaN or infinite; the error names the first one.
  // Cost: one pass over the logits; greedy no more than two. With top-k, the k best are kept in a heap (k log k more);
  // without it, top-p and plain sampling take an exponential for each token, and top-p sorts only as far as it must.
  // Takes one draw per call unless the temperature is 0.
  Result<TokenId> Sample(std::span<const float> logits) {
    if (logits.size() != vocab_) {
      return Fail(ErrorCode::kMismatch, "logits", logits.size(), " values for a vocabulary of ", vocab_);
    }
    Range range = RangeOf(logits);
    if (!range.finite()) return NonFinite(logits);
    if (window_size_ != 0) {
      logits = Penalize(logits);
      range = RangeOf(logits);
    }
    if (options_.temperature == 0.0f) return FirstEqual(logits, range.largest);
    const double chance = random_.NextUnit();
    const float largest = range.largest_value();
    if (candidates_.empty()) return DrawFromAll(logits, largest, chance);
    return DrawFrom(options_.top_k != 0 ? SelectTopK(logits) : SelectLikely(logits, largest), largest, chance);
  }

  // Adds a token to the window of the penalties. Ids outside the vocabulary are ignored.
  void Accept(TokenId token) {
    if (window_.empty() || token < 0 || static_cast<std::size_t>(token) >= vocab_) return;
    if (window_size_ == window_.size()) {
      --counts_[static_cast<std::size_t>(window_[window_next_])];
    } else {
      ++window_size_;
    }
    window_[window_next_] = token;
    ++counts_[static_cast<std::size_t>(token)];
    if (++window_next_ == window_.size()) window_next_ = 0;
  }

  const SamplerOptions& options() const { return options_; }
  std::size_t vocab() const { return vocab_; }
  // The random sequence, to save and resume it.
  Pcg32& random() { return random_; }

 private:
  struct Candidate {
    float logit;
    TokenId id;
  };

  // Smallest and largest logit as OrderedBits.
  struct Range {
    std::int32_t smallest = std::numeric_limits<std::int32_t>::max();
    std::int32_t largest = std::numeric_limits<std::int32_t>::min();

    void Add(std::int32_t bits) {
      smallest = bits < smallest ? bits : smallest;
      largest = bits > largest ? bits : largest;
    }
    // NaN and infinity lie outside all finite floats, on both sides.
    bool finite() const { return largest < kInfinityBits && smallest > -kInfinityBits; }
    float largest_value() const {
      return std::bit_cast<float>(largest < 0 ? static_cast<std::int32_t>(static_cast<std::uint32_t>(-largest) | kSign)
                                              : largest);
    }

    static constexpr std::int32_t kInfinityBits = 0x7F800000;
    static constexpr std::uint32_t kSign = 0x80000000u;
  };

  Sampler(const SamplerOptions& options, std::size_t vocab) : options_(options), vocab_(vocab) {}

  // Greedy and plain sampling read the logits where they are; a truncation keeps a list.
  static constexpr std::size_t CandidateCount(const SamplerOptions& options, std::size_t vocab) {
    if (options.temperature == 0.0f) return 0;
    if (options.top_k != 0) return options.top_k < vocab ? options.top_k : vocab;
    return options.top_p < 1.0f || options.min_p > 0.0f ? vocab : 0;
  }

  // A total order (larger logits first, then lower ids), so that every algorithm, and every standard library, selects
  // and sorts to the same result.
  static bool Before(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }
  static bool After(const Candidate& a, const Candidate& b) { return Before(b, a); }

  // The inner loop has a fixed length and no branch: what compilers need to vectorise it at -O2.
  static Range RangeOf(std::span<const float> logits) {
    constexpr std::size_t kLanes = 32;
    std::array<std::int32_t, kLanes> smallest;
    std::array<std::int32_t, kLanes> largest;
    smallest.fill(std::numeric_limits<std::int32_t>::max());
    largest.fill(std::numeric_limits<std::int32_t>::min());
    std::size_t i = 0;
    for (; i + kLanes <= logits.size(); i += kLanes) {
      const float* block = logits.data() + i;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const std::int32_t bits = detail::OrderedBits(block[lane]);
        smallest[lane] = bits < smallest[lane] ? bits : smallest[lane];
        largest[lane] = bits > largest[lane] ? bits : largest[lane];
      }
    }
    Range range;
    if (i != 0) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        range.Add(smallest[lane]);
        range.Add(largest[lane]);
      }
    }
    for (; i < logits.size(); ++i) range.Add(detail::OrderedBits(logits[i]));
    return range;
  }

  static Error NonFinite(std::span<const float> logits) {
    std::size_t i = 0;
    while (detail::IsFinite(logits[i])) ++i;
    return Fail(ErrorCode::kNonFinite, "logits", "the logit of token ", i, " is NaN or infinite");
  }

  static TokenId FirstEqual(std::span<const float> logits, std::int32_t largest) {
    std::size_t i = 0;
    while (detail::OrderedBits(logits[i]) != largest) ++i;
    return static_cast<TokenId>(i);
  }

  // The logits with the penalties in a buffer of our own. A token that is in the window more than once is computed
  // more than once, to the same value.
  std::span<const float> Penalize(std::span<const float> logits) {
    std::copy(logits.begin(), logits.end(), penalized_.begin());
    for (std::size_t i = 0; i < window_size_; ++i) {
      const std::size_t id = static_cast<std::size_t>(window_[i]);
      const float repetition = options_.repetition_penalty;
      const float scaled = logits[id] > 0.0f ? logits[id] / repetition : logits[id] * repetition;
      const float lowered =
          scaled - static_cast<float>(counts_[id]) * options_.frequency_penalty - options_.presence_penalty;
      constexpr float kMax = std::numeric_limits<float>::max();
      penalized_[id] = lowered > kMax ? kMax : lowered < -kMax ? -kMax : lowered;
    }
    return penalized_;
  }

  // The k best, best first. The heap's front is the worst that is kept; with ids ascending, an equal logit that comes
  // later never replaces it.
  std::span<Candidate> SelectTopK(std::span<const float> logits) {
    const std::size_t k = candidates_.size();
    for (std::size_t i = 0; i < k; ++i) candidates_[i] = {logits[i], static_cast<TokenId>(i)};
    std::make_heap(candidates_.begin(), candidates_.end(), Before);
    for (std::size_t i = k; i < logits.size(); ++i) {
      if (!(logits[i] > candidates_.front().logit)) continue;
      std::pop_heap(candidates_.begin(), candidates_.end(), Before);
      candidates_.back() = {logits[i], static_cast<TokenId>(i)};
      std::push_heap(candidates_.begin(), candidates_.end(), Before);
    }
    std::sort_heap(candidates_.begin(), candidates_.end(), Before);

    const float largest = candidates_.front().logit;
    std::size_t kept = k;
    if (options_.top_p < 1.0f) {
      double total = 0.0;
      for (const Candidate& candidate : candidates_) total += detail::ExpOfNegative(candidate.logit - largest);
      double mass = 0.0;
      for (kept = 0; kept < k && mass < options_.top_p * total; ++kept) {
        mass += detail::ExpOfNegative(candidates_[kept].logit - largest);
      }
    }
    if (options_.min_p > 0.0f) {
      const float threshold = MinPThreshold(largest);
      while (kept > 1 && candidates_[kept - 1].logit < threshold) --kept;
    }
    return candidates_.first(kept);
  }

  // Top-p and min-p over the whole vocabulary. Tokens so unlikely that all of them together cannot be needed to reach
  // top_p are dropped before anything is ordered; of the rest, only as many as the nucleus has are taken off a heap.
  std::span<Candidate> SelectLikely(std::span<const float> logits, float largest) {
    float threshold = options_.min_p > 0.0f ? MinPThreshold(largest) : -std::numeric_limits<float>::max();
    double total = 0.0;
    if (options_.top_p < 1.0f) {
      for (std::size_t i = 0; i < logits.size(); i += kBlock) total += BlockWeight(logits, i, largest, 1.0f);
      const double negligible = (1.0 - options_.top_p) * total / static_cast<double>(logits.size());
      // Half of it: the logarithm and the sum are rounded.
      threshold = std::max(threshold, largest + std::log(static_cast<float>(0.5 * negligible)));
    }
    std::size_t count = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      candidates_[count] = {logits[i], static_cast<TokenId>(i)};
      count += logits[i] >= threshold ? 1 : 0;
    }
    const std::span<Candidate> likely = candidates_.first(count);
    if (options_.top_p == 1.0f) return likely;

    std::make_heap(likely.begin(), likely.end(), After);
    std::size_t kept = 0;
    for (double mass = 0.0; kept < count && mass < options_.top_p * total; ++kept) {
      std::pop_heap(likely.begin(), likely.end() - static_cast<std::ptrdiff_t>(kept), After);
      mass += detail::ExpOfNegative(likely[count - 1 - kept].logit - largest);
    }
    const std::span<Candidate> nucleus = likely.last(kept);
    std::reverse(nucleus.begin(), nucleus.end());
    return nucleus;
  }

  // A logit at or above this is at least min_p times as likely as the largest one.
  float MinPThreshold(float largest) const { return largest + std::log(options_.min_p); }

  TokenId DrawFrom(std::span<Candidate> candidates, float largest, double chance) const {
    const float inverse = InverseTemperature();
    double total = 0.0;
    for (Candidate& candidate : candidates) {
      candidate.logit = detail::ExpOfNegative((candidate.logit - largest) * inverse);
      total += candidate.logit;
    }
    const double target = chance * total;
    double mass = 0.0;
    for (const Candidate& candidate : candidates) {
      mass += candidate.logit;
      if (mass > target) return candidate.id;
    }
    return candidates.front().id;
  }

  // Draws with no list: sums the weights in blocks, then computes again the blocks up to the one that the draw is in.
  TokenId DrawFromAll(std::span<const float> logits, float largest, double chance) const {
    const float inverse = InverseTemperature();
    double total = 0.0;
    for (std::size_t i = 0; i < logits.size(); i += kBlock) total += BlockWeight(logits, i, largest, inverse);
    const double target = chance * total;
    double before = 0.0;
    std::size_t start = 0;
    for (;; start += kBlock) {
      const double weight = BlockWeight(logits, start, largest, inverse);
      if (before + weight > target || start + kBlock >= logits.size()) break;
      before += weight;
    }
    const std::size_t end = std::min(start + kBlock, logits.size());
    std::size_t likeliest = start;
    double mass = before;
    for (std::size_t i = start; i < end; ++i) {
      mass += detail::ExpOfNegative((logits[i] - largest) * inverse);
      if (mass > target) return static_cast<TokenId>(i);
      if (logits[i] > logits[likeliest]) likeliest = i;
    }
    // Adding one by one rounds differently from adding in lanes: the draw was on the last hair of this block.
    return static_cast<TokenId>(likeliest);
  }

  // The sum of e^((logit - largest) * inverse) over one block, in an order that does not depend on the machine.
  static double BlockWeight(std::span<const float> logits, std::size_t start, float largest, float inverse) {
    constexpr std::size_t kLanes = 16;
    std::array<float, kLanes> sums{};
    const std::size_t end = std::min(start + kBlock, logits.size());
    std::size_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      const float* block = logits.data() + i;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        sums[lane] += detail::ExpOfNegative((block[lane] - largest) * inverse);
      }
    }
    double total = 0.0;
    for (; i < end; ++i) total += detail::ExpOfNegative((logits[i] - largest) * inverse);
    for (const float sum : sums) total += sum;
    return total;
  }

  // Finite even for the smallest temperature: 0 times infinity would be NaN.
  float InverseTemperature() const {
    constexpr float kMax = std::numeric_limits<float>::max();
    return options_.temperature < 1.0f / kMax ? kMax : 1.0f / options_.temperature;
  }

  static constexpr std::size_t kBlock = 512;

  SamplerOptions options_;
  std::size_t vocab_;
  Pcg32 random_;
  std::span<Candidate> candidates_;  // [top_k] or [vocab], empty where no list is needed
  std::span<float> penalized_;       // [vocab], empty without penalties, as the next two
  std::span<std::uint32_t> counts_;  // [vocab], occurrences in the window
  std::span<TokenId> window_;        // [penalty_window], a ring
  std::size_t window_size_ = 0;
  std::size_t window_next_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_SAMPLER_HPP_
