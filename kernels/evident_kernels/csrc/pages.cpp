#include "pages.h"

#include <algorithm>

#if defined(__linux__)
#include <sys/mman.h>
#endif

void enlarge_pages(Ranges ranges) {
#if defined(__linux__)
    constexpr uintptr_t kPage = uintptr_t{1} << 21;
    constexpr int kCollapse = 25;  // MADV_COLLAPSE, since Linux 6.1; older C libraries do not name it
    std::sort(ranges.begin(), ranges.end());
    uintptr_t done = 0;
    for (const auto& range : ranges)
        for (uintptr_t page = std::max(done, range.first / kPage * kPage); page < range.second; page += kPage) {
            madvise(reinterpret_cast<void*>(page), kPage, kCollapse);
            done = page + kPage;
        }
#else
    (void)ranges;
#endif
}
