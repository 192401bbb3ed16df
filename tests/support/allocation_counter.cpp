#include "tests/support/allocation_counter.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INLAY_TEST_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INLAY_TEST_SANITIZER 1
#endif
#endif

namespace {

std::atomic<std::uint64_t> g_allocations{0};
std::atomic<std::uint64_t> g_frees{0};
std::atomic<std::uint64_t> g_bytes{0};

void CountAllocation(std::size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  g_bytes.fetch_add(size, std::memory_order_relaxed);
}
void CountFree(const void* pointer) {
  if (pointer != nullptr) g_frees.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

#if defined(INLAY_TEST_SANITIZER)

// Of <sanitizer/allocator_interface.h>, which GCC does not install.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t),
                                                         void (*)(const volatile void*));

namespace {

void AllocationHook(const volatile void*, std::size_t size) { CountAllocation(size); }
void FreeHook(const volatile void* pointer) { CountFree(const_cast<const void*>(pointer)); }

[[maybe_unused]] const int g_installed = __sanitizer_install_malloc_and_free_hooks(AllocationHook, FreeHook);

}  // namespace

bool inlay_test::CanRefuseAllocations() { return false; }
inlay_test::RefuseAllocations::RefuseAllocations(std::uint64_t, Refuse) {}
inlay_test::RefuseAllocations::~RefuseAllocations() = default;
bool inlay_test::RefuseAllocations::refused() const { return false; }

#else

// glibc and emscripten keep their own functions reachable under these names for programs that replace the public ones.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* pointer, std::size_t size);
#if defined(__EMSCRIPTEN__)
void* emscripten_builtin_memalign(std::size_t alignment, std::size_t size);
inline void* __libc_memalign(std::size_t alignment, std::size_t size) { return emscripten_builtin_memalign(alignment, size); }
#else
void* __libc_memalign(std::size_t alignment, std::size_t size);
#endif
void __libc_free(void* pointer);
}

namespace {

// Constant-initialised and in the program itself: reading them never allocates.
thread_local bool t_refusing = false;
thread_local bool t_refused = false;
thread_local std::uint64_t t_granted = 0;
thread_local inlay_test::RefuseAllocations::Refuse t_refuse = inlay_test::RefuseAllocations::Refuse::kOne;

bool Granted(std::size_t size) {
  if (t_refusing) {
    if (t_granted == 0) {
      if (t_refuse == inlay_test::RefuseAllocations::Refuse::kOne) t_refusing = false;
      t_refused = true;
      errno = ENOMEM;
      return false;
    }
    --t_granted;
  }
  CountAllocation(size);
  return true;
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) { return Granted(size) ? __libc_malloc(size) : nullptr; }
void* calloc(std::size_t count, std::size_t size) {
  return Granted(count * size) ? __libc_calloc(count, size) : nullptr;
}
void* realloc(void* pointer, std::size_t size) { return Granted(size) ? __libc_realloc(pointer, size) : nullptr; }
void* memalign(std::size_t alignment, std::size_t size) {
  return Granted(size) ? __libc_memalign(alignment, size) : nullptr;
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  void* pointer = memalign(alignment, size);
  if (pointer == nullptr) return ENOMEM;
  *out = pointer;
  return 0;
}
void free(void* pointer) {
  CountFree(pointer);
  __libc_free(pointer);
}

}  // extern "C"

bool inlay_test::CanRefuseAllocations() { return true; }

inlay_test::RefuseAllocations::RefuseAllocations(std::uint64_t granted, Refuse refuse) {
  t_refused = false;
  t_granted = granted;
  t_refuse = refuse;
  t_refusing = true;
}
inlay_test::RefuseAllocations::~RefuseAllocations() { t_refusing = false; }
bool inlay_test::RefuseAllocations::refused() const { return t_refused; }

#endif

inlay_test::AllocationCounts inlay_test::TotalAllocations() {
  return {g_allocations.load(std::memory_order_relaxed), g_frees.load(std::memory_order_relaxed),
          g_bytes.load(std::memory_order_relaxed)};
}
