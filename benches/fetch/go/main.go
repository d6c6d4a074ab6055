// Fetches URL/items/1 to N with so many goroutines, and writes what came, in order, as CSV.
//
// usage: fetch URL N WORKERS OUT
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
)

type item struct {
	ID    int `json:"id"`
	Value int `json:"value"`
}

func main() {
	url, out := os.Args[1], os.Args[4]
	n, _ := strconv.Atoi(os.Args[2])
	workers, _ := strconv.Atoi(os.Args[3])
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers}}
	values := make([]item, n)
	numbers := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range numbers {
				answer, err := client.Get(fmt.Sprintf("%s/items/%d", url, number))
				if err != nil || answer.StatusCode != 200 {
					fmt.Fprintln(os.Stderr, number, err, answer)
					os.Exit(1)
				}
				err = json.NewDecoder(answer.Body).Decode(&values[number-1])
				answer.Body.Close()
				if err != nil {
					fmt.Fprintln(os.Stderr, number, err)
					os.Exit(1)
				}
			}
		}()
	}
	for number := 1; number <= n; number++ {
		numbers <- number
	}
	close(numbers)
	group.Wait()
	file, err := os.Create(out)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	writer := bufio.NewWriter(file)
	fmt.Fprintln(writer, "id,value")
	for _, value := range values {
		fmt.Fprintf(writer, "%d,%d\n", value.ID, value.Value)
	}
	writer.Flush()
	file.Close()
}
