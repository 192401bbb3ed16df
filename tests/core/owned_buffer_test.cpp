#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "inlay/core/owned_buffer.hpp"

BOOST_AUTO_TEST_SUITE(core_owned_buffer)

BOOST_AUTO_TEST_CASE(IsAlignedWritableAndOfTheAskedSize) {
  for (const std::size_t size : {1u, 63u, 64u, 4097u}) {
    auto buffer = inlay::OwnedBuffer::Create(size);
    BOOST_REQUIRE(buffer.has_value());
    BOOST_TEST(buffer->size() == size);
    BOOST_TEST(buffer->bytes().size() == size);
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(buffer->bytes().data()) % inlay::kAlignment == 0u);
    std::memset(buffer->bytes().data(), 0x5A, size);
    BOOST_TEST(static_cast<int>(std::as_const(*buffer).bytes().back()) == 0x5A);
  }
}

BOOST_AUTO_TEST_CASE(EmptyNeedsNoMemory) {
  const auto buffer = inlay::OwnedBuffer::Create(0);
  BOOST_REQUIRE(buffer.has_value());
  BOOST_TEST(buffer->bytes().empty());
}

// Large buffers are allocated for huge pages: another alignment, which the end of a moved buffer must know, too.
BOOST_AUTO_TEST_CASE(LargeStartsAtAHugePageAndMoves) {
  constexpr std::size_t kLarge = std::size_t{8} << 20;
  for (const std::size_t size : {kLarge, kLarge + 1}) {
    inlay::OwnedBuffer large = *inlay::OwnedBuffer::Create(size);
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(large.bytes().data()) % (std::size_t{2} << 20) == 0u);
    large.bytes().front() = std::byte{1};
    large.bytes().back() = std::byte{2};
    inlay::OwnedBuffer small = *inlay::OwnedBuffer::Create(100);
    std::swap(large, small);
    BOOST_TEST(large.size() == 100u);
    BOOST_TEST(small.size() == size);
    BOOST_TEST(static_cast<int>(small.bytes().back()) == 2);
    large = std::move(small);
    BOOST_TEST(large.size() == size);
  }
}

BOOST_AUTO_TEST_CASE(MovesOnce) {
  static_assert(!std::is_copy_constructible_v<inlay::OwnedBuffer>);
  static_assert(std::is_nothrow_move_constructible_v<inlay::OwnedBuffer>);
  auto first = *inlay::OwnedBuffer::Create(100);
  const std::byte* data = first.bytes().data();
  inlay::OwnedBuffer second = std::move(first);
  BOOST_TEST(second.bytes().data() == data);
  BOOST_TEST(first.size() == 0u);  // NOLINT: the moved-from state is what is tested
  first = std::move(second);
  BOOST_TEST(first.bytes().data() == data);
  BOOST_TEST(second.size() == 0u);  // NOLINT: as above
}

BOOST_AUTO_TEST_CASE(RefusalIsAnError) {
  // Sanitizers stop the program at sizes beyond what they can ever serve, so a size that is only beyond the address space.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const auto buffer = inlay::OwnedBuffer::Create(std::numeric_limits<std::size_t>::max() / 4, "weights");
  BOOST_REQUIRE(!buffer.has_value());
  BOOST_TEST((buffer.error().code == inlay::ErrorCode::kOutOfMemory));
  BOOST_TEST(buffer.error().field.view() == "weights");
#else
  BOOST_TEST(inlay::OwnedBuffer::Create(1, "weights").has_value());
#endif
}

BOOST_AUTO_TEST_SUITE_END()
