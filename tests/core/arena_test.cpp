#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "inlay/core/arena.hpp"

namespace {

struct alignas(inlay::kAlignment) Memory {
  std::array<std::byte, 1024> bytes;
};

bool IsAligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % inlay::kAlignment == 0; }

}  // namespace

BOOST_AUTO_TEST_SUITE(core_arena)

BOOST_AUTO_TEST_CASE(PiecesAreAlignedAndDisjoint) {
  Memory memory;
  inlay::Arena arena = *inlay::Arena::Create(memory.bytes);
  const auto a = arena.Allocate<float>(3, "a");
  const auto b = arena.Allocate<std::uint8_t>(65, "b");
  const auto c = arena.Allocate<double>(1, "c");
  BOOST_REQUIRE(a.has_value());
  BOOST_REQUIRE(b.has_value());
  BOOST_REQUIRE(c.has_value());
  BOOST_TEST(a->size() == 3u);
  BOOST_TEST(b->size() == 65u);
  BOOST_TEST(IsAligned(a->data()));
  BOOST_TEST(IsAligned(b->data()));
  BOOST_TEST(IsAligned(c->data()));
  BOOST_TEST(static_cast<const void*>(a->data()) == memory.bytes.data());
  BOOST_TEST(static_cast<const void*>(b->data()) == memory.bytes.data() + 64);
  BOOST_TEST(static_cast<const void*>(c->data()) == memory.bytes.data() + 64 + 128);
  BOOST_TEST(arena.used() == 64u + 128u + 64u);
  BOOST_TEST(arena.used() == inlay::ArenaBytes<float>(3) + inlay::ArenaBytes<std::uint8_t>(65) + inlay::ArenaBytes<double>(1));
  BOOST_TEST(arena.used() + arena.remaining() == memory.bytes.size());
}

BOOST_AUTO_TEST_CASE(ExactlyThePlannedBytesSuffice) {
  Memory memory;
  constexpr std::size_t kPlan = inlay::ArenaBytes<float>(17) + inlay::ArenaBytes<std::int8_t>(1);
  for (const std::size_t missing : {0u, 1u, 63u, 64u}) {
    inlay::Arena arena = *inlay::Arena::Create(std::span(memory.bytes).first(kPlan - missing));
    BOOST_TEST(arena.Allocate<float>(17, "a").has_value());
    // The last piece needs its own byte, not the padding behind it.
    BOOST_TEST(arena.Allocate<std::int8_t>(1, "b").has_value() == (missing < 64));
    BOOST_TEST(arena.remaining() == 0u);
  }
}

BOOST_AUTO_TEST_CASE(RefusalTakesNothingAndSaysWhat) {
  Memory memory;
  inlay::Arena arena = *inlay::Arena::Create(memory.bytes);
  BOOST_REQUIRE(arena.Allocate<float>(1, "a").has_value());
  const auto refused = arena.Allocate<float>(241, "logits");
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == inlay::ErrorCode::kOutOfMemory));
  BOOST_TEST(refused.error().field.view() == "logits");
  BOOST_TEST(refused.error().detail.view().find("964") != std::string_view::npos);
  BOOST_TEST(refused.error().detail.view().find("960") != std::string_view::npos);
  BOOST_TEST(arena.used() == 64u);
  BOOST_TEST(arena.Allocate<float>(240, "rest").has_value());
  BOOST_TEST(arena.remaining() == 0u);
  BOOST_TEST(arena.Allocate<float>(0, "nothing").has_value());
  BOOST_TEST(!arena.Allocate<std::byte>(1, "one more").has_value());
}

BOOST_AUTO_TEST_CASE(CountsThatWrapAreRefused) {
  Memory memory;
  inlay::Arena arena = *inlay::Arena::Create(memory.bytes);
  const std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t count : {most, most / 4 + 1, most / 4 + 2, most / 8 + 1, most / 2}) {
    BOOST_TEST(!arena.Allocate<double>(count, "huge").has_value(), "accepted " << count);
  }
  BOOST_TEST(arena.used() == 0u);
}

BOOST_AUTO_TEST_CASE(MisalignedMemoryIsRefused) {
  Memory memory;
  const auto arena = inlay::Arena::Create(std::span(memory.bytes).subspan(16));
  BOOST_REQUIRE(!arena.has_value());
  BOOST_TEST((arena.error().code == inlay::ErrorCode::kInvalidArgument));
  BOOST_TEST(inlay::Arena::Create({}).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
