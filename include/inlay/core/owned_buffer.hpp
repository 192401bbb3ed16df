// Memory for hosts that have a heap: one aligned, owned block. A convenience on top of the library, never used inside it.
#ifndef INLAY_CORE_OWNED_BUFFER_HPP_
#define INLAY_CORE_OWNED_BUFFER_HPP_

#include <cstddef>
#include <new>
#include <span>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

// Owns `size` bytes that start at a multiple of kAlignment; uninitialised. Movable, not copyable. Large buffers ask the
// system for huge pages (Linux, where it grants them on request): weights are read end to end for every token, and with
// pages of 4 KiB the processor would look up a new one every 64 cache lines.
class OwnedBuffer {
 public:
  OwnedBuffer() = default;
  OwnedBuffer(OwnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  OwnedBuffer& operator=(OwnedBuffer other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~OwnedBuffer() { ::operator delete(data_, Alignment(size_)); }

  // kOutOfMemory when the heap refuses. Never throws.
  static Result<OwnedBuffer> Create(std::size_t size, std::string_view what = "memory") {
    OwnedBuffer buffer;
    if (size != 0) {
      buffer.data_ = static_cast<std::byte*>(::operator new(size, Alignment(size), std::nothrow));
      if (buffer.data_ == nullptr) return Fail(ErrorCode::kOutOfMemory, what, "needs ", size, " bytes");
#if defined(__linux__) && defined(MADV_HUGEPAGE)
      // Only whole pages, so that no more memory is used. A refusal changes nothing but the speed.
      if (size >= kHugePageMinimum) ::madvise(buffer.data_, size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    }
    buffer.size_ = size;
    return buffer;
  }

  std::span<std::byte> bytes() { return {data_, size_}; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static constexpr std::size_t kHugePageMinimum = 4 * kHugePage;

  static constexpr std::align_val_t Alignment(std::size_t size) {
    return std::align_val_t{size >= kHugePageMinimum ? kHugePage : std::size_t{kAlignment}};
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_OWNED_BUFFER_HPP_
