// Sessions as bytes: taken up again with the same result to the last bit, whatever the model keeps; and every byte that is
// missing, changed or of something else is an error that leaves the session as it was.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "inlay/files/sha256.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/model/saved_sequence.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/support/family_models.hpp"
#include "tests/support/hybrid_models.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::KvType;
using inlay::SessionOptions;
using inlay::TokenId;
using TestSession = inlay::Session<TestModel>;

inlay::SerialExecutor g_serial;

// A session in memory that held something else before.
class OwnedSession {
 public:
  OwnedSession(const TestModel& model, const SessionOptions& options)
      : memory_(Value(TestSession::MemoryBytes(model, options)), std::byte{0x7F}),
        session_(Value(TestSession::Create(model, options, memory_))) {}
  TestSession& operator*() { return session_; }
  TestSession* operator->() { return &session_; }
  std::vector<float> Logits() const { return {session_.logits().begin(), session_.logits().end()}; }

  std::vector<std::byte> Save() const {
    std::vector<std::byte> bytes(session_.SavedBytes());
    BOOST_TEST(Value(session_.Save(bytes)) == bytes.size());
    return bytes;
  }
  // Logits after each of the tokens, one after the other.
  std::vector<float> Continue(std::span<const TokenId> tokens) {
    std::vector<float> all;
    for (const TokenId& token : tokens) {
      Value(session_.Append({&token, 1}, g_serial));
      all.insert(all.end(), session_.logits().begin(), session_.logits().end());
    }
    return all;
  }

 private:
  AlignedBytes memory_;
  TestSession session_;
};

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// With a digest that fits: what somebody writes on purpose.
std::vector<std::byte> Forged(std::vector<std::byte> bytes) {
  const std::size_t body = bytes.size() - sizeof(inlay::Sha256Digest);
  const inlay::Sha256Digest digest = inlay::Sha256::Of(std::span(bytes).first(body));
  std::memcpy(bytes.data() + body, digest.data(), digest.size());
  return bytes;
}
template <class T>
std::vector<std::byte> With(std::vector<std::byte> bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
  return Forged(std::move(bytes));
}

struct Case {
  std::string name;
  FileContents file;
};
// Heads that are not a multiple of four wide, windows, experts, latents, and each kind of state.
std::vector<Case> Cases() {
  return {{"odd", RandomModel({.config = kOddConfig})},
          {"window and experts", RandomModel({.config = kExpertConfig, .type = AllOf(inlay::WeightType::kQ8_0)})},
          {"latents", DeepSeekModel({.experts = 8, .used = 3, .expert_ffn = 20, .shared_ffn = 28}, {})},
          {"two kinds of heads, and shared keys", RandomModel({.config = family::kGemmaFour})},
          {"streams, and shared keys", RandomModel({.config = family::kGemmaThreeN})},
          {"convolutions", Lfm2Model({})},
          {"delta states", QwenDeltaModel("qwen35", {}, {})},
          {"nothing but states", MambaModel({}, {.kernel = 2, .heads = 3, .groups = 1, .key_dim = 30, .value_dim = 140}, true)}};
}

BOOST_AUTO_TEST_SUITE(generate_saved_session)

BOOST_AUTO_TEST_CASE(goes_on_with_the_same_bits) {
  for (const Case& c : Cases()) {
    const OpenedModel model = OpenModel(c.file);
    const auto tokens = RandomTokens(60, model->config().vocab, 3), other = RandomTokens(70, model->config().vocab, 4);
    for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
      // With and without a whole pair of values at the end; a single one.
      for (const std::size_t count : {1u, 5u, 16u, 33u, 48u}) {
        BOOST_TEST_CONTEXT(c.name << ", " << inlay::Name(kv) << ", " << count << " positions") {
          OwnedSession first(*model, {.context = 90, .batch = 7, .kv = kv});
          Value(first->Append(std::span(tokens).first(count), g_serial));
          const std::vector<std::byte> saved = first.Save();
          BOOST_TEST(saved.size() == inlay::SavedSequenceBytes(model->config(), kv, count, model->config().vocab));
          // In a session with another context that has read something else, and on threads.
          OwnedSession second(*model, {.context = 200, .batch = 9, .kv = kv});
          Value(second->Append(other, g_serial));
          Value(second->Restore(saved));
          BOOST_TEST(second->length() == count);
          BOOST_TEST(SameBits(second.Logits(), first.Logits()));
          BOOST_TEST((second.Save() == saved));
          const auto rest = std::span(tokens).subspan(count);
          BOOST_TEST(SameBits(second.Continue(rest), first.Continue(rest)));
          // One with just enough room.
          OwnedSession third(*model, {.context = count, .batch = 9, .kv = kv});
          Value(third->Restore(saved));
          BOOST_TEST(third->remaining() == 0u);
          BOOST_TEST((third.Save() == saved));
        }
      }
    }
  }
}

// More positions than one chunk and one span of attention.
BOOST_AUTO_TEST_CASE(long_sequences) {
  const OpenedModel model = OpenModel(RandomModel({.config = kOddConfig}));
  const auto tokens = RandomTokens(310, kOddConfig.vocab, 3);
  for (const KvType kv : {KvType::kF16, KvType::kQ8}) {
    OwnedSession first(*model, {.context = 320, .kv = kv}), second(*model, {.context = 700, .kv = kv});
    Value(first->Append(std::span(tokens).first(299), g_serial));
    Value(second->Restore(first.Save()));
    inlay::ThreadPool threads(3);
    Value(first->Append(std::span(tokens).subspan(299), g_serial));
    Value(second->Append(std::span(tokens).subspan(299), threads));
    BOOST_TEST(SameBits(second.Logits(), first.Logits()));
  }
}

// Going back behind a restored position, an empty session, one without logits, a failed pass after restoring.
BOOST_AUTO_TEST_CASE(other_moments) {
  for (const Case& c : Cases()) {
    BOOST_TEST_CONTEXT(c.name) {
      const OpenedModel model = OpenModel(c.file);
      const auto tokens = RandomTokens(40, model->config().vocab, 3);
      const SessionOptions options{.context = 50, .batch = 8};
      OwnedSession first(*model, options), second(*model, options);
      Value(second->Append(tokens, g_serial));
      Value(second->Restore(first.Save()));
      BOOST_TEST(second->length() == 0u);
      BOOST_TEST(second->logits().empty());
      BOOST_TEST(SameBits(second.Continue(std::span(tokens).first(20)), first.Continue(std::span(tokens).first(20))));

      const std::vector<std::byte> saved = first.Save();
      OwnedSession third(*model, options);
      Value(third->Restore(saved));
      const std::vector<TokenId> bad(2, TokenId{-1});
      BOOST_TEST(!third->Append(bad, g_serial));
      BOOST_TEST(third->length() == 20u);
      Value(third->Append(std::span(tokens).subspan(20, 9), g_serial));
      // With states only the last Append can be taken back; here both go as far.
      BOOST_TEST(third->Truncate(20) == 20u);
      BOOST_TEST(third->logits().empty());
      const std::vector<std::byte> without = third.Save();
      BOOST_TEST(without.size() == saved.size() - model->config().vocab * sizeof(float));
      OwnedSession fourth(*model, options);
      Value(fourth->Append(tokens, g_serial));
      Value(fourth->Restore(without));
      BOOST_TEST(fourth->logits().empty());
      BOOST_TEST(SameBits(fourth.Continue(std::span(tokens).subspan(20)), first.Continue(std::span(tokens).subspan(20))));
    }
  }
}

// Every truncation and every flipped bit is found, and the session goes on as if nothing had been tried.
BOOST_AUTO_TEST_CASE(damage) {
  const OpenedModel model = OpenModel(MambaModel({.layers = 2}, {.heads = 6, .groups = 2, .key_dim = 10, .value_dim = 16}, false));
  const auto tokens = RandomTokens(20, model->config().vocab, 3);
  const SessionOptions options{.context = 20, .kv = KvType::kQ8};
  OwnedSession source(*model, options), session(*model, options), untouched(*model, options);
  Value(source->Append(std::span(tokens).first(3), g_serial));
  for (OwnedSession* each : {&session, &untouched}) Value((*each)->Append(std::span(tokens).subspan(3, 9), g_serial));
  const std::vector<std::byte> saved = source.Save(), before = untouched.Save();
  for (std::size_t size = 0; size < saved.size(); ++size) {
    // In memory of that size, so that a sanitizer sees reads behind it.
    const std::vector<std::byte> cut(saved.begin(), saved.begin() + static_cast<std::ptrdiff_t>(size));
    const auto result = session->Restore(cut);
    BOOST_REQUIRE(!result);
    BOOST_REQUIRE((result.error().code == ErrorCode::kTruncated));
    BOOST_REQUIRE(result.error().offset == size);
  }
  std::vector<std::byte> flipped = saved;
  for (std::size_t bit = 0; bit < 8 * saved.size(); bit += bit < 8 * 200 ? 1 : 7) {
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const auto result = session->Restore(flipped);
    BOOST_REQUIRE_MESSAGE(!result, "bit " << bit);
    const ErrorCode code = result.error().code;
    BOOST_REQUIRE((code == ErrorCode::kBadFile || (bit / 8 < 12 && code == ErrorCode::kUnsupported) ||
                   (bit / 8 >= 16 && bit / 8 < 24 && code == ErrorCode::kTruncated)));
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
  std::vector<std::byte> longer = saved;
  longer.push_back(std::byte{0});
  BOOST_TEST((session->Restore(longer).error().code == ErrorCode::kBadFile));
  BOOST_TEST((session.Save() == before));
  BOOST_TEST(SameBits(session.Continue(std::span(tokens).subspan(12)), untouched.Continue(std::span(tokens).subspan(12))));
}

// Headers that contradict themselves or the session, with a digest that fits.
BOOST_AUTO_TEST_CASE(forged) {
  const OpenedModel model = OpenModel(RandomModel({.config = kOddConfig}));
  const auto tokens = RandomTokens(20, kOddConfig.vocab, 3);
  const SessionOptions options{.context = 30};
  OwnedSession source(*model, options), session(*model, options), untouched(*model, options);
  Value(source->Append(tokens, g_serial));
  for (OwnedSession* each : {&session, &untouched}) Value((*each)->Append(std::span(tokens).first(7), g_serial));
  const std::vector<std::byte> saved = source.Save();
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  const auto expect = [&](const std::vector<std::byte>& bytes, ErrorCode code, std::string_view field) {
    const auto result = session->Restore(bytes);
    BOOST_REQUIRE(!result);
    BOOST_TEST((result.error().code == code), field << ": " << result.error().Message().c_str());
    BOOST_TEST(result.error().field.view() == field);
  };
  expect(With(saved, 0, std::uint8_t{'i'}), ErrorCode::kBadFile, "magic");
  expect(With(saved, 8, std::uint32_t{2}), ErrorCode::kUnsupported, "version");
  expect(With(saved, 12, std::uint32_t{3}), ErrorCode::kMismatch, "kv");
  expect(With(saved, 12, std::uint32_t{99}), ErrorCode::kMismatch, "kv");
  expect(With(saved, 16, std::uint64_t{0}), ErrorCode::kBadFile, "bytes");
  expect(With(saved, 16, std::uint64_t{saved.size() - 1}), ErrorCode::kBadFile, "bytes");
  expect(With(saved, 16, kHuge), ErrorCode::kTruncated, "saved sequence");
  for (const std::uint64_t positions : {std::uint64_t{0}, std::uint64_t{19}, std::uint64_t{21}, std::uint64_t{30}}) {
    expect(With(saved, 24, positions), ErrorCode::kBadFile, "bytes");
  }
  for (const std::uint64_t positions : {std::uint64_t{31}, std::uint64_t{1} << 32, kHuge}) {
    expect(With(saved, 24, positions), ErrorCode::kContextFull, "positions");
  }
  expect(With(saved, 32, std::uint64_t{0}), ErrorCode::kBadFile, "bytes");
  for (const std::uint64_t logits : {std::uint64_t{1}, std::uint64_t{78}, kHuge}) {
    expect(With(saved, 32, logits), ErrorCode::kBadFile, "logits");
  }
  expect(With(saved, 40, std::uint8_t{1}), ErrorCode::kMismatch, "identity");
  const std::size_t last_logit = saved.size() - sizeof(inlay::Sha256Digest) - sizeof(float);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    expect(With(saved, last_logit, bad), ErrorCode::kNonFinite, "logits");
  }
  std::vector<std::byte> small(saved.begin(), saved.begin() + 104);
  expect(With(small, 16, std::uint64_t{104}), ErrorCode::kBadFile, "bytes");
  small.resize(103);
  std::memset(small.data() + 16, 0, 8);
  small[16] = std::byte{103};
  expect(small, ErrorCode::kBadFile, "bytes");
  BOOST_TEST(SameBits(session.Logits(), untouched.Logits()));
  BOOST_TEST(SameBits(session.Continue(std::span(tokens).subspan(7)), untouched.Continue(std::span(tokens).subspan(7))));

  // Keys that are no numbers make no logits, and are forgotten with their sequence.
  expect({}, ErrorCode::kTruncated, "saved sequence");
  Value(session->Restore(With(saved, 72, std::uint32_t{0x7E007E00})));
  const auto poisoned = session->Append(std::span(tokens).first(1), g_serial);
  BOOST_REQUIRE(!poisoned);
  BOOST_TEST((poisoned.error().code == ErrorCode::kNonFinite));
  Value(session->Restore(saved));
  BOOST_TEST(SameBits(session.Continue(std::span(tokens).first(5)), source.Continue(std::span(tokens).first(5))));
}

BOOST_AUTO_TEST_CASE(of_something_else) {
  const auto tokens = RandomTokens(9, 77, 3);
  const auto save = [&](const RandomModelOptions& options, KvType kv = KvType::kF16) {
    const OpenedModel model = OpenModel(RandomModel(options));
    OwnedSession session(*model, {.context = 30, .kv = kv});
    Value(session->Append(tokens, g_serial));
    return session.Save();
  };
  const OpenedModel model = OpenModel(RandomModel({.config = kOddConfig}));
  OwnedSession session(*model, {.context = 30});
  const auto code = [&](const std::vector<std::byte>& bytes) {
    const auto result = session->Restore(bytes);
    BOOST_TEST(session->length() == 0u);
    return result ? ErrorCode{} : result.error().code;
  };
  inlay::ModelConfig other = kOddConfig;
  other.rope_base = 501.0f;
  BOOST_TEST((code(save({.config = other})) == ErrorCode::kMismatch));
  BOOST_TEST((code(save({.config = kOddConfig, .seed = 99})) == ErrorCode::kMismatch));  // other weights
  BOOST_TEST((code(save({.config = kOddConfig, .type = AllOf(inlay::WeightType::kF16)})) == ErrorCode::kMismatch));
  BOOST_TEST((code(save({.config = kOddConfig}, KvType::kBF16)) == ErrorCode::kMismatch));
  // The trained context is not what a model computes.
  other = kOddConfig;
  other.context = 512;
  BOOST_TEST(session->Restore(save({.config = other})).has_value());
}

// The static model and the one from a file are the same model.
BOOST_AUTO_TEST_CASE(across_model_types) {
  for (const StaticModelEntry& entry : StaticModels()) {
    const FileContents file = RandomModel({.config = *entry.config, .type = AllOf(entry.formats[0])});
    const OpenedModel dynamic = OpenModel(file), compiled = OpenModel(file, entry.make);
    const auto tokens = RandomTokens(30, entry.config->vocab, 3);
    OwnedSession first(*dynamic, {.context = 40}), second(*compiled, {.context = 50});
    Value(first->Append(std::span(tokens).first(21), g_serial));
    Value(second->Restore(first.Save()));
    BOOST_TEST(SameBits(second.Continue(std::span(tokens).subspan(21)), first.Continue(std::span(tokens).subspan(21))));
  }
}

// Weights that are too many to be read whole: a change in any of the pieces is seen.
BOOST_AUTO_TEST_CASE(identity) {
  AlignedBytes weights(1 << 20);
  const inlay::ModelIdentity plain = inlay::IdentityOf(kOddConfig, weights);
  BOOST_TEST((plain == inlay::IdentityOf(kOddConfig, weights)));
  const std::size_t apart = (weights.size() - 1024) / 63;
  for (const std::size_t piece : {std::size_t{0}, std::size_t{1}, std::size_t{40}, std::size_t{63}}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{1023}}) {
      weights[piece * apart + at] ^= std::byte{1};
      BOOST_TEST((plain != inlay::IdentityOf(kOddConfig, weights)));
      weights[piece * apart + at] ^= std::byte{1};
    }
  }
  BOOST_TEST((plain != inlay::IdentityOf(kOddConfig, std::span(weights).first(weights.size() - 64))));
  for (std::size_t i = 0; i < 4; ++i) {
    inlay::ModelConfig config = kOddConfig;
    if (i == 0) config.layers = 3;
    if (i == 1) config.norm_epsilon = 2e-3f;
    if (i == 2) config.activation = inlay::Activation::kGelu;
    if (i == 3) config.rope.local_base = 1.0f;
    BOOST_TEST((plain != inlay::IdentityOf(config, weights)));
  }
}

BOOST_AUTO_TEST_CASE(room_and_allocations) {
  const OpenedModel model = OpenModel(RandomModel({.config = kOddConfig}));
  const auto tokens = RandomTokens(20, kOddConfig.vocab, 3);
  OwnedSession session(*model, {.context = 30}), other(*model, {.context = 30});
  Value(session->Append(tokens, g_serial));
  const std::size_t bytes = session->SavedBytes();
  std::vector<std::byte> out(bytes + 1, std::byte{0x55});
  const auto refused = session->Save(std::span(out).first(bytes - 1));
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == ErrorCode::kTooLarge));
  BOOST_TEST(std::count(out.begin(), out.end(), std::byte{0x55}) == static_cast<std::ptrdiff_t>(out.size()));
  AllocationScope scope;
  const auto saved = session->Save(out);
  const bool restored = saved && other->Restore(std::span(out).first(*saved));
  const AllocationCounts counts = scope.counts();
  BOOST_TEST(restored);
  BOOST_TEST(counts.allocations == 0u);
  BOOST_TEST(counts.frees == 0u);
  BOOST_TEST(*saved == bytes);
  BOOST_TEST((out.back() == std::byte{0x55}));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
